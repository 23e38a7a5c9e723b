# Builds the Rust library with cargo and offers it as two imported targets, gpubuf::gpubuf (shared) and gpubuf::static.
#
# Linux only: the names of the libraries and the symlinks are those of ELF systems.

if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
  message(FATAL_ERROR "gpubuf is built on Linux only; this is ${CMAKE_SYSTEM_NAME}.")
endif()

find_program(GPUBUF_CARGO cargo PATHS "$ENV{CARGO_HOME}/bin" "$ENV{HOME}/.cargo/bin" DOC "The cargo that builds gpubuf")
if(NOT GPUBUF_CARGO)
  message(FATAL_ERROR "gpubuf needs cargo (Rust 1.95 or newer) to be built from source. Get it from https://rustup.rs, "
                      "or name it with -DGPUBUF_CARGO=/path/to/cargo. An installed gpubuf needs no cargo.")
endif()
set(GPUBUF_CARGO_FLAGS "" CACHE STRING "More flags for cargo build, for example --offline (a list)")
set(GPUBUF_CARGO_TARGET "" CACHE STRING "Rust target triple when cross-compiling; empty: this machine's")
set(GPUBUF_CARGO_TARGET_DIR "${CMAKE_CURRENT_BINARY_DIR}/cargo" CACHE PATH "Where cargo keeps what it builds")

# While the major version is 0 every minor version is an ABI of its own. build.rs writes the same SONAME.
if(gpubuf_VERSION_MAJOR EQUAL 0)
  set(gpubuf_abi "0.${gpubuf_VERSION_MINOR}")
else()
  set(gpubuf_abi "${gpubuf_VERSION_MAJOR}")
endif()
# `rustc --print native-static-libs` on Linux.
set(gpubuf_native_libs gcc_s util rt pthread m dl c)

set(gpubuf_lib_dir "${CMAKE_CURRENT_BINARY_DIR}/lib")
set(gpubuf_include_dir "${CMAKE_CURRENT_LIST_DIR}/../include")
cmake_path(NORMAL_PATH gpubuf_include_dir)
set(gpubuf_shared_file "${gpubuf_lib_dir}/libgpubuf.so.${gpubuf_VERSION}")
set(gpubuf_static_file "${gpubuf_lib_dir}/libgpubuf.a")
set(gpubuf_links "${gpubuf_lib_dir}/libgpubuf.so.${gpubuf_abi}" "${gpubuf_lib_dir}/libgpubuf.so")

set(gpubuf_cargo_args build --locked --release --package gpubuf --lib
    --manifest-path "${CMAKE_CURRENT_LIST_DIR}/../Cargo.toml" ${GPUBUF_CARGO_FLAGS})
set(gpubuf_built_dir "${GPUBUF_CARGO_TARGET_DIR}/release")
if(GPUBUF_CARGO_TARGET)
  list(APPEND gpubuf_cargo_args --target "${GPUBUF_CARGO_TARGET}")
  set(gpubuf_built_dir "${GPUBUF_CARGO_TARGET_DIR}/${GPUBUF_CARGO_TARGET}/release")
endif()

# cargo knows what is out of date, so it is asked at every build; what it leaves alone is not copied again.
add_custom_target(gpubuf_cargo ALL
  COMMAND "${CMAKE_COMMAND}" -E env "CARGO_TARGET_DIR=${GPUBUF_CARGO_TARGET_DIR}" "${GPUBUF_CARGO}" ${gpubuf_cargo_args}
  COMMAND "${CMAKE_COMMAND}" "-DFROM=${gpubuf_built_dir}" "-DTO=${gpubuf_lib_dir}" "-DVERSION=${gpubuf_VERSION}"
          "-DABI=${gpubuf_abi}" "-DSTRIP=${CMAKE_STRIP}" -P "${CMAKE_CURRENT_LIST_DIR}/stage.cmake"
  BYPRODUCTS "${gpubuf_shared_file}" "${gpubuf_static_file}" ${gpubuf_links}
  COMMENT "Building gpubuf with cargo"
  USES_TERMINAL
  VERBATIM)

add_library(gpubuf::gpubuf SHARED IMPORTED GLOBAL)
set_target_properties(gpubuf::gpubuf PROPERTIES
  IMPORTED_LOCATION "${gpubuf_shared_file}"
  IMPORTED_SONAME "libgpubuf.so.${gpubuf_abi}"
  INTERFACE_INCLUDE_DIRECTORIES "${gpubuf_include_dir}")
add_dependencies(gpubuf::gpubuf gpubuf_cargo)

add_library(gpubuf::static STATIC IMPORTED GLOBAL)
set_target_properties(gpubuf::static PROPERTIES
  IMPORTED_LOCATION "${gpubuf_static_file}"
  INTERFACE_INCLUDE_DIRECTORIES "${gpubuf_include_dir}"
  INTERFACE_LINK_LIBRARIES "${gpubuf_native_libs}")
add_dependencies(gpubuf::static gpubuf_cargo)
