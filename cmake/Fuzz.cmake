# Fuzz drivers: fuzz/<name>.cc and src/**/<name>_fuzz.cc, each one LLVMFuzzerTestOneInput, become
# fuzz_<name>. With KVSPLICE_FUZZ_ENGINE (clang) they run under libFuzzer; otherwise a small main
# replays files and a bounded number of repeatable mutations, so every build compiles and runs them.

function(kvsplice_add_fuzz_drivers)
  file(GLOB sources CONFIGURE_DEPENDS fuzz/*.cc)
  file(GLOB_RECURSE layer_sources CONFIGURE_DEPENDS src/*_fuzz.cc)
  foreach(source ${sources} ${layer_sources})
    cmake_path(GET source STEM name)
    string(REGEX REPLACE "_fuzz$" "" name ${name})
    kvsplice_add_fuzz_driver(fuzz_${name} ${source} ${PROJECT_SOURCE_DIR}/fuzz/corpus/${name})
  endforeach()
endfunction()

function(kvsplice_add_fuzz_driver target source corpus)
  add_executable(${target} ${source})
  add_dependencies(unit_tests ${target})
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/fuzz)
  target_link_libraries(${target} PRIVATE
    kvsplice kvsplice_warnings $<TARGET_NAME_IF_EXISTS:kvsplice_stage_cases>)
  if(NOT EXISTS ${corpus})
    set(corpus)
  endif()
  if(KVSPLICE_FUZZ_ENGINE)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    add_test(NAME ${target} COMMAND ${target} -runs=20000 -seed=1 -max_total_time=60 ${corpus})
  else()
    target_sources(${target} PRIVATE ${PROJECT_SOURCE_DIR}/fuzz/replay/main.cc)
    add_test(NAME ${target} COMMAND ${target} --runs=2000 --seed=1 ${corpus})
  endif()
  set_tests_properties(${target} PROPERTIES LABELS fuzz TIMEOUT 120)
endfunction()
