# Libraries by package. Which folder links which is said in Layers.cmake.

# Of libkvsplice.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(hwy REQUIRED)
if(hwy_VERSION VERSION_LESS 1.0.4)
  target_include_directories(kvsplice_flags INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/cmake/highway>)
endif()
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)

# Of the program.
if(KVSPLICE_PROGRAM)
  find_package(nlohmann_json REQUIRED)
  find_package(CLI11 REQUIRED)
  find_package(benchmark REQUIRED)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    find_package(OpenMP REQUIRED COMPONENTS CXX)  # llama.cpp's: host/openmp_threads.h
  endif()
  pkg_check_modules(OPENBLAS REQUIRED IMPORTED_TARGET openblas)
  pkg_check_modules(LAPACKE REQUIRED IMPORTED_TARGET lapacke)
endif()

# Of the store, which the program needs, and which the Python package has where they are.
set(KVSPLICE_STORE_FOUND OFF)
if(KVSPLICE_PROGRAM OR KVSPLICE_PYTHON)
  set(wanted)
  if(KVSPLICE_PROGRAM)
    set(wanted REQUIRED)
  endif()
  pkg_check_modules(SODIUM ${wanted} IMPORTED_TARGET libsodium)
  pkg_check_modules(SQLITE ${wanted} IMPORTED_TARGET sqlite3)
  pkg_check_modules(HIREDIS ${wanted} IMPORTED_TARGET hiredis)
  pkg_check_modules(CURL ${wanted} IMPORTED_TARGET libcurl)
  if(SODIUM_FOUND AND SQLITE_FOUND AND HIREDIS_FOUND AND CURL_FOUND)
    set(KVSPLICE_STORE_FOUND ON)
  endif()
endif()

# Only tests need these two. By default tests are there if both are.
set(can_test OFF)
if(PROJECT_IS_TOP_LEVEL)
  find_package(GTest QUIET)
  find_package(rapidcheck QUIET)
  # The library's own tests go without rapidcheck where it cannot be had (tools/cross).
  if(GTest_FOUND AND (rapidcheck_FOUND OR NOT KVSPLICE_PROGRAM))
    set(can_test ON)
  endif()
endif()
option(KVSPLICE_TESTS "Tests and fuzz drivers" ${can_test})
if(KVSPLICE_TESTS AND NOT can_test)
  message(FATAL_ERROR "Tests need GoogleTest and rapidcheck: run tools/setup.sh --tests, or build "
    "without tests, -DKVSPLICE_TESTS=OFF")
endif()
