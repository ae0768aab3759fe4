# Fuzz drivers: fuzz/<name>.cc, each one LLVMFuzzerTestOneInput, become fuzz_<name>. Their corpora
# are what the program writes, made while building by fuzz/seeds/<name>_seeds.cc, and what is kept
# in fuzz/corpus/<name>. With KVSPLICE_FUZZ_ENGINE (clang) they run under libFuzzer, as
# tools/fuzz does; otherwise a small main replays the files and a bounded number of repeatable
# mutations, so every build compiles and runs them.

set(KVSPLICE_FUZZ_SEED 1 CACHE STRING "Seed of the mutations that the tests replay")

function(kvsplice_add_fuzz_drivers)
  file(GLOB support CONFIGURE_DEPENDS fuzz/support/*.cc)
  add_library(kvsplice_fuzz STATIC ${support})
  target_include_directories(kvsplice_fuzz PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/fuzz)
  target_link_libraries(kvsplice_fuzz
    PUBLIC kvsplice_all kvsplice_stage_cases PRIVATE kvsplice_warnings PkgConfig::XXHASH)
  kvsplice_add_fuzz_seeds(seeded)
  add_custom_target(fuzz_drivers)
  file(GLOB sources CONFIGURE_DEPENDS fuzz/*.cc)
  foreach(source ${sources})
    cmake_path(GET source STEM name)
    kvsplice_add_fuzz_driver(${name} ${source} "${seeded}")
  endforeach()
  add_dependencies(unit_tests fuzz_drivers)
endfunction()

# The drivers that have seeds are returned; the target fuzz_corpus writes them.
function(kvsplice_add_fuzz_seeds result)
  file(GLOB sources CONFIGURE_DEPENDS fuzz/seeds/*.cc)
  kvsplice_names_of(names "" "_seeds.cc" ${sources})
  add_executable(fuzz_seeds ${sources})
  kvsplice_write_table(fuzz_seeds fuzz seeds_table Seeds seeds "seeds/seeds.h" "${names}")
  target_link_libraries(fuzz_seeds PRIVATE kvsplice_fuzz kvsplice_warnings)
  set(stamp ${PROJECT_BINARY_DIR}/fuzz/corpus.stamp)
  add_custom_command(OUTPUT ${stamp}
    COMMAND fuzz_seeds ${PROJECT_BINARY_DIR}/fuzz/corpus
    COMMAND ${CMAKE_COMMAND} -E touch ${stamp}
    DEPENDS fuzz_seeds COMMENT "Making the corpora of the fuzz drivers" VERBATIM)
  add_custom_target(fuzz_corpus DEPENDS ${stamp})
  set(${result} ${names} PARENT_SCOPE)
endfunction()

function(kvsplice_add_fuzz_driver name source seeded)
  set(corpora)
  if(name IN_LIST seeded)
    list(APPEND corpora ${PROJECT_BINARY_DIR}/fuzz/corpus/${name})
  endif()
  if(EXISTS ${PROJECT_SOURCE_DIR}/fuzz/corpus/${name})
    list(APPEND corpora ${PROJECT_SOURCE_DIR}/fuzz/corpus/${name})
  endif()
  if(NOT corpora)
    message(FATAL_ERROR "fuzz/${name}.cc has nothing to begin with: "
      "it needs fuzz/seeds/${name}_seeds.cc or files in fuzz/corpus/${name}")
  endif()
  set(target fuzz_${name})
  add_executable(${target} ${source})
  add_dependencies(${target} fuzz_corpus)
  add_dependencies(fuzz_drivers ${target})
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/fuzz)
  target_link_libraries(${target} PRIVATE kvsplice_fuzz kvsplice_warnings)
  if(KVSPLICE_FUZZ_ENGINE)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    add_test(NAME ${target} COMMAND ${target} -runs=0 ${corpora})
  else()
    target_sources(${target} PRIVATE ${PROJECT_SOURCE_DIR}/fuzz/replay/main.cc)
    add_test(NAME ${target}
      COMMAND ${target} --runs=2000 --seed=${KVSPLICE_FUZZ_SEED} ${corpora})
  endif()
  set_tests_properties(${target} PROPERTIES LABELS fuzz TIMEOUT 120)
endfunction()
