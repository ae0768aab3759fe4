# cpp-httplib, which llama-server speaks HTTP with; tools/setup.sh takes it from llama.cpp's sources.
if(NOT EXISTS "${KVSPLICE_SETUP_HTTPLIB}/httplib.cpp")
  message(FATAL_ERROR "No cpp-httplib at '${KVSPLICE_SETUP_HTTPLIB}': run tools/setup.sh")
endif()
add_library(kvsplice_httplib STATIC ${KVSPLICE_SETUP_HTTPLIB}/httplib.cpp)
target_include_directories(kvsplice_httplib SYSTEM PUBLIC ${KVSPLICE_SETUP_HTTPLIB})
target_compile_features(kvsplice_httplib PUBLIC cxx_std_17)
target_compile_options(kvsplice_httplib PRIVATE -w $<$<CONFIG:Release>:-O1>)
# Many requests may wait for a slot at once, and prompts are long.
target_compile_definitions(kvsplice_httplib PUBLIC
  CPPHTTPLIB_LISTEN_BACKLOG=512 CPPHTTPLIB_REQUEST_URI_MAX_LENGTH=32768
  CPPHTTPLIB_FORM_URL_ENCODED_PAYLOAD_MAX_LENGTH=1048576 CPPHTTPLIB_TCP_NODELAY=1)
target_link_libraries(kvsplice_httplib PUBLIC Threads::Threads)
