# What `make install` puts in place for programs that call the library: libkvsplice.so, which exports
# the C interface and nothing else, the headers over it, and descriptions for CMake and pkg-config.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

add_library(kvsplice_shared SHARED include/kvsplice/kvsplice.h)
set_target_properties(kvsplice_shared PROPERTIES
  OUTPUT_NAME kvsplice EXPORT_NAME kvsplice LINKER_LANGUAGE CXX
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
target_link_libraries(kvsplice_shared PRIVATE $<LINK_LIBRARY:WHOLE_ARCHIVE,kvsplice>)
target_include_directories(kvsplice_shared INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_compile_features(kvsplice_shared INTERFACE cxx_std_20)

if(PROJECT_IS_TOP_LEVEL)
  set(package ${CMAKE_INSTALL_LIBDIR}/cmake/kvsplice)
  install(TARGETS kvsplice_shared EXPORT kvsplice)
  install(FILES include/kvsplice/kvsplice.h include/kvsplice/kvsplice.hpp include/kvsplice/result.h
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/kvsplice)
  install(EXPORT kvsplice NAMESPACE kvsplice:: FILE kvsplice-config.cmake DESTINATION ${package})
  write_basic_package_version_file(kvsplice-config-version.cmake COMPATIBILITY SameMinorVersion)
  install(FILES ${PROJECT_BINARY_DIR}/kvsplice-config-version.cmake DESTINATION ${package})
  configure_file(cmake/kvsplice.pc.in kvsplice.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/kvsplice.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()
