# Tests: one GoogleTest program per folder of src/ (label `unit`), one per folder of tests/ (label:
# the folder's name), and every tests/*/*_test.py. All are found by name, none is listed. Programs
# tests/*/make_*.cc make files that tests read; they are built with them and run by hand.
#
# A program runs its tests in one process, or in a few that share them, side by side: most take less
# time than a process needs to start, and what several of them read is made once.

# What a test may want to know of its surroundings.
set(KVSPLICE_TEST_SETTINGS
  KVSPLICE_SOURCE_DIR=${PROJECT_SOURCE_DIR}
  KVSPLICE_BINARY=${PROJECT_BINARY_DIR}/kvsplice
  KVSPLICE_TEST_MODEL=${test_model}
  KVSPLICE_TEST_GEMMA=${KVSPLICE_SETUP_GEMMA})
# And scripts alone.
set(KVSPLICE_SCRIPT_SETTINGS ${KVSPLICE_TEST_SETTINGS}
  KVSPLICE_TEST_SERVER=${KVSPLICE_SETUP_SERVER}
  KVSPLICE_TEST_COMPLETION=${KVSPLICE_SETUP_COMPLETION}
  KVSPLICE_TEST_PACKAGE_PYTHON=${KVSPLICE_SETUP_PACKAGE}
  KVSPLICE_TEST_S3_PYTHON=${KVSPLICE_SETUP_S3}
  KVSPLICE_TEST_CLIENTS_PYTHON=${KVSPLICE_SETUP_CLIENTS})

# In how many processes: of those that take minutes.
set(KVSPLICE_PARTS_cli 10)
set(KVSPLICE_PARTS_conformance 4)
set(KVSPLICE_PARTS_host 6)
set(KVSPLICE_PARTS_integration 4)
set(KVSPLICE_PARTS_memory 2)
set(KVSPLICE_PARTS_models 4)

# Seconds that a process may take, on machines that do other things besides.
set(KVSPLICE_TEST_TIMEOUT 1200)

# What `.ci/run` builds for the sanitizers: tests that need neither a model nor the program, and
# those of folders whose code is used by many threads (label `threads`, too).
add_custom_target(unit_tests)
add_custom_target(thread_tests)
set(KVSPLICE_THREADED_LAYERS core linalg range codec session store solve)
# Folders of tests/ that need neither, too.
set(KVSPLICE_UNIT_FOLDERS conformance golden memory)

# Without the program, as on other machines (tools/cross), these are left: tests of the library that
# fit nothing.
set(KVSPLICE_ALONE_LAYERS core simd linalg gguf range functions)
set(KVSPLICE_ALONE_FOLDERS golden)
set(KVSPLICE_ALONE_MAKERS make_blocks)

function(kvsplice_add_all_tests)
  if(NOT KVSPLICE_PROGRAM)
    kvsplice_add_tests_alone()
    return()
  endif()
  add_library(kvsplice_test_main STATIC tests/test_main.cc)
  target_link_libraries(kvsplice_test_main
    PUBLIC GTest::gmock PRIVATE kvsplice_solve kvsplice_flags kvsplice_warnings)
  foreach(layer ${KVSPLICE_LIBRARY_LAYERS} ${KVSPLICE_PROGRAM_LAYERS})
    kvsplice_add_layer_tests(${layer})
  endforeach()
  file(GLOB folders CONFIGURE_DEPENDS LIST_DIRECTORIES true tests/*)
  foreach(folder ${folders})
    if(IS_DIRECTORY ${folder})
      kvsplice_add_test_folder(${folder})
    endif()
  endforeach()
  kvsplice_add_python_tests()
  kvsplice_add_check_tests()
endfunction()

function(kvsplice_add_tests_alone)
  add_library(kvsplice_test_main INTERFACE)
  add_library(kvsplice_all INTERFACE)
  target_link_libraries(kvsplice_all INTERFACE kvsplice fmt::fmt-header-only)
  target_link_libraries(kvsplice_test_main INTERFACE GTest::gmock GTest::gmock_main)
  foreach(layer ${KVSPLICE_ALONE_LAYERS})
    kvsplice_add_layer_tests(${layer})
  endforeach()
  foreach(folder ${KVSPLICE_ALONE_FOLDERS})
    kvsplice_add_test_folder(${PROJECT_SOURCE_DIR}/tests/${folder})
  endforeach()
endfunction()

# Those that need rapidcheck; says which.
function(kvsplice_drop_property_tests list)
  foreach(source ${${list}})
    file(STRINGS ${source} found REGEX "rapidcheck" LIMIT_COUNT 1)
    if(found)
      message(STATUS "without rapidcheck, ${source} is left out")
      list(REMOVE_ITEM ${list} ${source})
    endif()
  endforeach()
  set(${list} ${${list}} PARENT_SCOPE)
endfunction()

function(kvsplice_add_layer_tests layer)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS src/${layer}/*_test.cc)
  if(WIN32)
    list(FILTER sources EXCLUDE REGEX "_posix_test\\.cc$")
  endif()
  if(NOT rapidcheck_FOUND)
    kvsplice_drop_property_tests(sources)
  endif()
  if(sources)
    set(labels unit)
    if(layer IN_LIST KVSPLICE_THREADED_LAYERS)
      list(APPEND labels threads)
    endif()
    kvsplice_add_test_program(${layer} "${labels}" ${sources})
    # Tests look at the inside of a layer, and may use what fits codecs.
    if(TARGET kvsplice_${layer})
      target_link_libraries(test_${layer} PRIVATE
        kvsplice_${layer} ${KVSPLICE_${layer}_LIBRARIES} kvsplice_fit)
    else()
      target_link_libraries(test_${layer} PRIVATE
        $<IF:$<BOOL:${KVSPLICE_PROGRAM}>,kvsplice_fit;kvsplice_stage_cases,kvsplice_all>)
    endif()
  endif()
endfunction()

# These see the library as callers do: its shared form comes first, and stands for every kvs_ name.
function(kvsplice_add_api_tests)
  kvsplice_add_test_program(api "unit;threads" ${ARGN})
  target_link_libraries(test_api PRIVATE kvsplice_shared kvsplice)
endfunction()

function(kvsplice_add_test_folder folder)
  cmake_path(GET folder FILENAME name)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${folder}/*_test.cc)
  if(sources AND name STREQUAL "api")
    kvsplice_add_api_tests(${sources})
  elseif(sources)
    kvsplice_add_test_program(${name} ${name} ${sources})
    target_link_libraries(test_${name} PRIVATE kvsplice_all
      $<$<BOOL:${KVSPLICE_PROGRAM}>:llama> $<$<BOOL:${KVSPLICE_PROGRAM}>:kvsplice_stage_cases>)
    if(name IN_LIST KVSPLICE_UNIT_FOLDERS)
      add_dependencies(unit_tests test_${name})
    elseif(TARGET kvsplice_program)
      add_dependencies(test_${name} kvsplice_program)
    endif()
  endif()
  file(GLOB makers CONFIGURE_DEPENDS ${folder}/make_*.cc)
  foreach(source ${makers})
    cmake_path(GET source STEM maker)
    if(NOT KVSPLICE_PROGRAM AND NOT maker IN_LIST KVSPLICE_ALONE_MAKERS)
      continue()
    endif()
    add_executable(${maker} ${source})
    set_target_properties(${maker} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
    target_link_libraries(${maker} PRIVATE kvsplice_all kvsplice_flags kvsplice_warnings)
  endforeach()
endfunction()

# test_<name>.
function(kvsplice_add_test_program name labels)
  set(target test_${name})
  add_executable(${target} ${ARGN})
  target_compile_options(${target} PRIVATE -O1)  # tests check, they do not race: compile them fast
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  target_link_libraries(${target} PRIVATE
    kvsplice_flags kvsplice_warnings kvsplice_test_main
    $<TARGET_NAME_IF_EXISTS:rapidcheck> $<TARGET_NAME_IF_EXISTS:rapidcheck_gtest>)
  foreach(setting ${KVSPLICE_TEST_SETTINGS})
    string(REPLACE "=" "=\"" setting "${setting}\"")
    target_compile_definitions(${target} PRIVATE ${setting})
  endforeach()
  if("unit" IN_LIST labels)
    add_dependencies(unit_tests ${target})
  endif()
  if("threads" IN_LIST labels)
    add_dependencies(thread_tests ${target})
  endif()
  set(parts 1)
  if(KVSPLICE_PARTS_${name})
    set(parts ${KVSPLICE_PARTS_${name}})
  endif()
  foreach(part RANGE 1 ${parts})
    math(EXPR index "${part} - 1")
    set(test ${target})
    if(parts GREATER 1)
      set(test ${target}.${part})
    endif()
    add_test(NAME ${test} COMMAND ${target})
    set_tests_properties(${test} PROPERTIES LABELS "${labels}" TIMEOUT ${KVSPLICE_TEST_TIMEOUT}
      COST ${parts} ENVIRONMENT "GTEST_TOTAL_SHARDS=${parts};GTEST_SHARD_INDEX=${index}")
  endforeach()
endfunction()

# A script that lacks what it tests (a program of llama.cpp's) says so and ends with 77.
function(kvsplice_add_python_tests)
  file(GLOB sources CONFIGURE_DEPENDS tests/*/*_test.py)
  foreach(source ${sources})
    cmake_path(GET source STEM name)
    cmake_path(GET source PARENT_PATH folder)
    cmake_path(GET folder FILENAME label)
    add_test(NAME ${label}.${name} COMMAND ${KVSPLICE_SETUP_PYTHON} ${source})
    set_tests_properties(${label}.${name} PROPERTIES LABELS ${label} TIMEOUT 1200
      COST 10 SKIP_RETURN_CODE 77 ENVIRONMENT "${KVSPLICE_SCRIPT_SETTINGS}")
  endforeach()
endfunction()

# The repository's own rules, as tests.
function(kvsplice_add_check_tests)
  set(checks layers)
  if(EXISTS ${PROJECT_SOURCE_DIR}/.git)  # check_tree asks git which files are ours
    list(APPEND checks tree)
  endif()
  foreach(check ${checks})
    add_test(NAME check.${check} COMMAND ${PROJECT_SOURCE_DIR}/tools/check_${check})
    set_tests_properties(check.${check} PROPERTIES LABELS check TIMEOUT 60)
  endforeach()
endfunction()
