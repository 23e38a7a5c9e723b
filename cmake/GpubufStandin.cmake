# Builds the stand-in CUDA driver with cargo: a libcuda.so.1 that simulates, for tests where there is no GPU. It is never
# installed where a loader looks, so that no program takes it for the driver.
#
# gpubuf_standin_file: the library. gpubuf_standin_environment: what a program's environment needs to run on it.
# gpubuf_STANDIN_DRIVER: the library, for projects that have gpubuf inside; the installed package sets the same.

set(gpubuf_standin_file "${CMAKE_CURRENT_BINARY_DIR}/standin/libcuda.so.1")
set(gpubuf_STANDIN_DRIVER "${gpubuf_standin_file}" CACHE INTERNAL "The stand-in CUDA driver of gpubuf")
set(gpubuf_standin_environment "GPUBUF_BACKEND=cuda;GPUBUF_CUDA_DRIVER=${gpubuf_standin_file}")

set(gpubuf_standin_args ${gpubuf_cargo_args})
list(TRANSFORM gpubuf_standin_args REPLACE "^gpubuf$" "gpubuf-standin")

add_custom_target(gpubuf_standin ALL
  COMMAND "${CMAKE_COMMAND}" -E env "CARGO_TARGET_DIR=${GPUBUF_CARGO_TARGET_DIR}" "${GPUBUF_CARGO}" ${gpubuf_standin_args}
  COMMAND "${CMAKE_COMMAND}" -E copy_if_different "${gpubuf_built_dir}/libgpubuf_standin_cuda.so" "${gpubuf_standin_file}"
  BYPRODUCTS "${gpubuf_standin_file}"
  COMMENT "Building the stand-in CUDA driver with cargo"
  USES_TERMINAL
  VERBATIM)
# One cargo at a time in one directory.
add_dependencies(gpubuf_standin gpubuf_cargo)
