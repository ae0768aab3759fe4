# The folders of src/, in order: a folder may include only itself and those before it
# (tools/check_layers reads these lists and checks). Folders that do not exist yet are passed over.
#
# Those of the library that others call, libkvsplice. It needs no llama.cpp, BLAS, LAPACK or OpenMP.
set(KVSPLICE_LIBRARY_LAYERS core simd linalg gguf range functions codec session live api)
# ------------------------------------------------------------------------------ Behind it, the rest.
set(KVSPLICE_PROGRAM_LAYERS
  store solve host extract analyse train fit evaluate quality sweep calibrate report serve)

# What a folder of the program needs beyond the earlier folders. PUBLIC where our headers show the
# library.
set(KVSPLICE_store_LIBRARIES
  PRIVATE PkgConfig::SODIUM PkgConfig::SQLITE PkgConfig::HIREDIS PkgConfig::CURL)
set(KVSPLICE_solve_LIBRARIES PRIVATE PkgConfig::OPENBLAS PkgConfig::LAPACKE)
set(KVSPLICE_analyse_LIBRARIES PRIVATE hwy::hwy_contrib)
set(KVSPLICE_train_LIBRARIES PRIVATE hwy::hwy_contrib)
set(KVSPLICE_host_LIBRARIES PRIVATE llama PkgConfig::XXHASH
  $<$<BOOL:${OpenMP_CXX_FOUND}>:$<LINK_ONLY:OpenMP::OpenMP_CXX>>)
set(KVSPLICE_report_LIBRARIES PRIVATE nlohmann_json::nlohmann_json PkgConfig::XXHASH)
set(KVSPLICE_serve_LIBRARIES PUBLIC nlohmann_json::nlohmann_json PRIVATE kvsplice_httplib)

# Headers of theirs that most files of a folder include.
set(KVSPLICE_report_PRECOMPILED <nlohmann/json.hpp>)

# Of os_posix.cc and os_windows.cc one is left out.
set(KVSPLICE_OTHER_SYSTEM windows)
if(WIN32)
  set(KVSPLICE_OTHER_SYSTEM posix)
endif()

# The sources below a folder: all .cc files but tests, stage cases, fuzz drivers, benchmarks.
function(kvsplice_glob_library result folder)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${folder}/*.cc)
  list(FILTER sources EXCLUDE REGEX "_(test|case|fuzz|bench)\\.cc$")
  list(FILTER sources EXCLUDE REGEX "/os_${KVSPLICE_OTHER_SYSTEM}\\.cc$")
  # Kernels, and what lists and chooses targets, agree on Highway's targets: one that it leaves out
  # unless it is asked for multiplies bytes.
  set(kernels ${sources})
  list(FILTER kernels INCLUDE REGEX "_kernel\\.cc$|/simd/target\\.cc$|/quantile_knots\\.cc$")
  set_source_files_properties(${kernels} PROPERTIES COMPILE_DEFINITIONS HWY_WANT_AVX3_DL)
  set(openmp ${sources})
  list(FILTER openmp INCLUDE REGEX "/openmp_threads\\.cc$")
  set_source_files_properties(${openmp} PROPERTIES COMPILE_OPTIONS "${OpenMP_CXX_FLAGS}")
  set(${result} ${sources} PARENT_SCOPE)
endfunction()

# One static library. CXX is named because a folder of headers only has no file to tell it from.
function(kvsplice_add_library target)
  add_library(${target} STATIC ${ARGN})
  set_target_properties(${target} PROPERTIES LINKER_LANGUAGE CXX)
  target_link_libraries(${target} PUBLIC kvsplice_flags PRIVATE kvsplice_warnings)
endfunction()

# libkvsplice. fmt is compiled in, so that callers need not have it.
function(kvsplice_add_the_library)
  foreach(layer ${KVSPLICE_LIBRARY_LAYERS})
    kvsplice_glob_library(own ${CMAKE_CURRENT_SOURCE_DIR}/${layer})
    list(APPEND sources ${own})
  endforeach()
  kvsplice_drop_stage_sources(sources)
  kvsplice_add_library(kvsplice ${sources})
  add_library(kvsplice::kvsplice ALIAS kvsplice)
  set_target_properties(kvsplice PROPERTIES
    POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  target_link_libraries(kvsplice PUBLIC hwy::hwy Threads::Threads PRIVATE PkgConfig::XXHASH)
  kvsplice_compile_fmt_in()
endfunction()

# core/fmt.cc is fmt 9, compiled once; with another version each file compiles what it needs.
function(kvsplice_compile_fmt_in)
  if(fmt_VERSION VERSION_GREATER_EQUAL 9 AND fmt_VERSION VERSION_LESS 10)
    target_include_directories(kvsplice SYSTEM PRIVATE
      $<TARGET_PROPERTY:fmt::fmt-header-only,INTERFACE_INCLUDE_DIRECTORIES>)
  else()
    target_link_libraries(kvsplice PRIVATE fmt::fmt-header-only)
    set_source_files_properties(${CMAKE_CURRENT_SOURCE_DIR}/core/fmt.cc PROPERTIES
      HEADER_FILE_ONLY ON)
  endif()
endfunction()

# A library for one folder of the rest, behind the earlier ones.
function(kvsplice_add_layer layer earlier)
  kvsplice_glob_library(sources ${CMAKE_CURRENT_SOURCE_DIR}/${layer})
  # A folder of headers only still hands its libraries on; the headers keep the archive non-empty.
  file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${layer}/*.h)
  list(APPEND sources ${headers})
  if(NOT sources)
    return()
  endif()
  kvsplice_add_library(kvsplice_${layer} ${sources})
  kvsplice_precompile(kvsplice_${layer} ${KVSPLICE_${layer}_PRECOMPILED})
  set(fmt $<IF:$<BOOL:${KVSPLICE_PROGRAM}>,fmt::fmt,fmt::fmt-header-only>)  # fewer shared libraries
  target_link_libraries(kvsplice_${layer}
    PUBLIC ${earlier} ${fmt} ${KVSPLICE_${layer}_LIBRARIES})
endfunction()

# All of them, and kvsplice_all for all of it.
function(kvsplice_add_layers)
  set(earlier kvsplice)
  foreach(layer ${KVSPLICE_PROGRAM_LAYERS})
    kvsplice_add_layer(${layer} "${earlier}")
    if(TARGET kvsplice_${layer})
      list(APPEND earlier kvsplice_${layer})
    endif()
  endforeach()
  foreach(layer store report serve)
    kvsplice_compile_lightly(kvsplice_${layer})
  endforeach()
  add_library(kvsplice_all INTERFACE)
  target_link_libraries(kvsplice_all INTERFACE ${earlier})
endfunction()

# For what only puts calls and texts together: nobody waits for it, and it is compiled in two thirds
# of the time.
function(kvsplice_compile_lightly target)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1>)
endfunction()

# Headers that nearly all files of a target include, read once. Builds with asserts go without, so
# that a file which forgets one of them is found.
function(kvsplice_precompile target)
  if(CMAKE_BUILD_TYPE STREQUAL "Release")
    target_precompile_headers(${target} PRIVATE
      <fmt/format.h> <algorithm> <cmath> <functional> <map> <memory> <optional> <span> <string>
      <vector> ${ARGN})
  endif()
endfunction()

# bench/ and experiments/ may include any layer and are linked into the program.
function(kvsplice_add_extras)
  file(GLOB bench CONFIGURE_DEPENDS bench/*.cc)
  file(GLOB_RECURSE layer_bench CONFIGURE_DEPENDS src/*_bench.cc)
  file(GLOB experiments CONFIGURE_DEPENDS experiments/*.cc experiments/*/*.cc)
  kvsplice_add_extra(kvsplice_bench ${bench} ${layer_bench})
  kvsplice_add_extra(kvsplice_experiments ${experiments})
  if(TARGET kvsplice_bench)
    kvsplice_names_of(names "bench_" ".cc" ${bench})
    kvsplice_write_table(kvsplice_bench bench bench_table BenchCase bench "bench/bench.h" "${names}")
    kvsplice_embed_peers(kvsplice_bench)
    target_link_libraries(kvsplice_bench PRIVATE
      llama nlohmann_json::nlohmann_json PkgConfig::OPENBLAS)
    target_link_libraries(kvsplice_bench PUBLIC
      benchmark::benchmark $<TARGET_NAME_IF_EXISTS:kvsplice_stage_cases>)
  endif()
  if(TARGET kvsplice_experiments)
    kvsplice_names_of(names "" "_experiment.cc" ${experiments})
    kvsplice_write_table(kvsplice_experiments experiment experiment_table Experiment experiment
      "experiments/experiment.h" "${names}")
  endif()
endfunction()

function(kvsplice_add_extra target)
  set(sources ${ARGN})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  if(sources)
    kvsplice_add_library(${target} ${sources})
    kvsplice_compile_lightly(${target})
    kvsplice_precompile(${target} <nlohmann/json.hpp>)
    target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR})
    target_link_libraries(${target} PUBLIC kvsplice_all)
  endif()
endfunction()

# The program: build/kvsplice. Its target has another name because `kvsplice` is the library.
function(kvsplice_add_program)
  file(GLOB sources CONFIGURE_DEPENDS apps/kvsplice/*.cc)
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  if(NOT sources)
    return()
  endif()
  add_executable(kvsplice_program ${sources})
  kvsplice_names_of(verbs "cmd_" ".cc" ${sources})
  kvsplice_write_table(kvsplice_program app command_table Command command "command.h" "${verbs}")
  target_include_directories(kvsplice_program PRIVATE ${PROJECT_SOURCE_DIR}/apps/kvsplice)
  kvsplice_compile_lightly(kvsplice_program)
  kvsplice_precompile(kvsplice_program <CLI/CLI.hpp>)
  set_target_properties(kvsplice_program PROPERTIES
    OUTPUT_NAME kvsplice RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  target_link_libraries(kvsplice_program PRIVATE kvsplice_all kvsplice_warnings CLI11::CLI11)
  foreach(extra kvsplice_bench kvsplice_experiments)
    if(TARGET ${extra})
      target_link_libraries(kvsplice_program PRIVATE ${extra})
    endif()
  endforeach()
  install(TARGETS kvsplice_program COMPONENT program)
endfunction()
