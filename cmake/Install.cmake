# What `make install` puts in place for programs that call the library: libkvsplice.so, which exports
# the C interface and nothing else, the headers over it, and descriptions for CMake and pkg-config.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# Until 1.0 minor versions may change structs, so the soname names them.
set(soversion ${PROJECT_VERSION_MAJOR})
if(soversion EQUAL 0)
  set(soversion ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
endif()

add_library(kvsplice_shared SHARED include/kvsplice/kvsplice.h)
set_target_properties(kvsplice_shared PROPERTIES
  OUTPUT_NAME kvsplice EXPORT_NAME kvsplice LINKER_LANGUAGE CXX
  VERSION ${PROJECT_VERSION} SOVERSION ${soversion}
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
target_link_libraries(kvsplice_shared PRIVATE $<LINK_LIBRARY:WHOLE_ARCHIVE,kvsplice>)
target_include_directories(kvsplice_shared INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_compile_features(kvsplice_shared INTERFACE cxx_std_20)

# Parts of the standard library that are compiled in would be exported otherwise.
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  set(exports ${PROJECT_SOURCE_DIR}/cmake/exports.map)
  target_link_options(kvsplice_shared PRIVATE LINKER:--version-script=${exports})
  set_target_properties(kvsplice_shared PROPERTIES LINK_DEPENDS ${exports})
endif()

if(NOT PROJECT_IS_TOP_LEVEL)
  set_target_properties(kvsplice_shared PROPERTIES EXCLUDE_FROM_ALL ON)
  return()
endif()

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/kvsplice)
install(TARGETS kvsplice_shared EXPORT kvsplice COMPONENT library
  LIBRARY NAMELINK_COMPONENT library)
install(FILES include/kvsplice/kvsplice.h include/kvsplice/kvsplice.hpp include/kvsplice/result.h
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/kvsplice COMPONENT library)
install(EXPORT kvsplice NAMESPACE kvsplice:: FILE kvsplice-config.cmake DESTINATION ${package}
  COMPONENT library)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/kvsplice-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/kvsplice-config-version.cmake DESTINATION ${package}
  COMPONENT library)

# The prefix is where the file lies: it may be chosen as late as `cmake --install --prefix`.
set(pkgconfig ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX BASE_DIRECTORY ${CMAKE_INSTALL_PREFIX}/${pkgconfig}
  OUTPUT_VARIABLE up)
configure_file(cmake/kvsplice.pc.in ${PROJECT_BINARY_DIR}/kvsplice.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/kvsplice.pc DESTINATION ${pkgconfig} COMPONENT library)
