# What tools/setup.sh has put into the cache: llama.cpp, the small model, the Python of the tests.
# The script alone knows where things are; this file asks it. `python`, `model` and `llama` may be
# empty or not there yet (a build without the set-up): whoever needs them says so.

execute_process(
  COMMAND ${CMAKE_COMMAND} -E env LLAMA_DIR=${KVSPLICE_LLAMA_DIR}
    ${PROJECT_SOURCE_DIR}/tools/setup.sh --paths
  OUTPUT_VARIABLE setup_paths
  COMMAND_ERROR_IS_FATAL ANY)

foreach(name llama server completion httplib model gemma python package s3 clients)
  string(REGEX MATCH "(^|\n)${name}=([^\n]*)" found "${setup_paths}")
  string(TOUPPER ${name} upper)
  set(KVSPLICE_SETUP_${upper} "${CMAKE_MATCH_2}")
endforeach()

set(KVSPLICE_TEST_MODEL "" CACHE FILEPATH "GGUF model for the tests; empty: the one of the set-up")
set(test_model "${KVSPLICE_TEST_MODEL}")
if(NOT test_model)
  set(test_model "${KVSPLICE_SETUP_MODEL}")
endif()
if(NOT EXISTS "${test_model}")
  message(WARNING "No test model at '${test_model}'; run tools/setup.sh or give -DKVSPLICE_TEST_MODEL")
endif()
