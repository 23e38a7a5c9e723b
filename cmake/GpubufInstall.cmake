# Installs the libraries, the headers, the CMake package, the pkg-config file and the licences; sets up cpack.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(gpubuf_cmake_dir "${CMAKE_INSTALL_LIBDIR}/cmake/gpubuf")
set(gpubuf_generated_dir "${CMAKE_CURRENT_BINARY_DIR}/package")

install(PROGRAMS "${gpubuf_shared_file}" DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(FILES ${gpubuf_links} "${gpubuf_static_file}" DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY "${gpubuf_include_dir}/gpubuf" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
        FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
if(GPUBUF_BUILD_STANDIN)
  install(PROGRAMS "${gpubuf_standin_file}" DESTINATION "${CMAKE_INSTALL_LIBDIR}/gpubuf/standin")
endif()
install(FILES "${CMAKE_CURRENT_LIST_DIR}/../LICENSE-MIT" "${CMAKE_CURRENT_LIST_DIR}/../LICENSE-APACHE"
        DESTINATION "${CMAKE_INSTALL_DOCDIR}")

set(gpubuf_config_libdir "${CMAKE_INSTALL_LIBDIR}")
set(gpubuf_config_includedir "${CMAKE_INSTALL_INCLUDEDIR}")
configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/gpubufConfig.cmake.in"
  "${gpubuf_generated_dir}/gpubufConfig.cmake"
  INSTALL_DESTINATION "${gpubuf_cmake_dir}"
  PATH_VARS gpubuf_config_libdir gpubuf_config_includedir
  NO_CHECK_REQUIRED_COMPONENTS_MACRO)
if(gpubuf_VERSION_MAJOR EQUAL 0)
  set(gpubuf_compatibility SameMinorVersion)
else()
  set(gpubuf_compatibility SameMajorVersion)
endif()
write_basic_package_version_file("${gpubuf_generated_dir}/gpubufConfigVersion.cmake"
  VERSION "${gpubuf_VERSION}" COMPATIBILITY ${gpubuf_compatibility})
install(FILES "${gpubuf_generated_dir}/gpubufConfig.cmake" "${gpubuf_generated_dir}/gpubufConfigVersion.cmake"
        DESTINATION "${gpubuf_cmake_dir}")

# The prefix in the .pc file follows from where the file lies, so that the tree may be moved.
set(gpubuf_pc_prefix "${CMAKE_INSTALL_PREFIX}")
set(gpubuf_pc_libdir "${CMAKE_INSTALL_FULL_LIBDIR}")
set(gpubuf_pc_includedir "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" AND NOT IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
  file(RELATIVE_PATH gpubuf_up "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")
  string(REGEX REPLACE "/$" "" gpubuf_up "${gpubuf_up}")
  set(gpubuf_pc_prefix "\${pcfiledir}/${gpubuf_up}")
  set(gpubuf_pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
  set(gpubuf_pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
list(TRANSFORM gpubuf_native_libs PREPEND "-l" OUTPUT_VARIABLE gpubuf_pc_private)
list(JOIN gpubuf_pc_private " " gpubuf_pc_private)
configure_file("${CMAKE_CURRENT_LIST_DIR}/gpubuf.pc.in" "${gpubuf_generated_dir}/gpubuf.pc" @ONLY)
install(FILES "${gpubuf_generated_dir}/gpubuf.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

if(gpubuf_top_level)
  set(CPACK_GENERATOR TGZ)
  set(CPACK_PACKAGE_NAME gpubuf)
  set(CPACK_PACKAGE_VENDOR "the gpubuf authors")
  set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${gpubuf_DESCRIPTION}")
  set(CPACK_PACKAGE_FILE_NAME "gpubuf-${gpubuf_VERSION}-linux-${CMAKE_SYSTEM_PROCESSOR}")
  set(CPACK_RESOURCE_FILE_LICENSE "${CMAKE_CURRENT_LIST_DIR}/../LICENSE-APACHE")
  include(CPack)
endif()
