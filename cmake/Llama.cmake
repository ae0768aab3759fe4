# llama.cpp, as target `llama` with its ggml libraries. KVSPLICE_LLAMA_DIR may name a source tree
# (built here as a sub-project) or an install prefix; otherwise tools/setup.sh knows a prefix.

if(EXISTS "${KVSPLICE_LLAMA_DIR}/CMakeLists.txt")
  foreach(part COMMON TESTS EXAMPLES TOOLS SERVER APP)
    set(LLAMA_BUILD_${part} OFF)
  endforeach()
  set(LLAMA_OPENSSL OFF)
  set(BUILD_SHARED_LIBS OFF)
  add_subdirectory(${KVSPLICE_LLAMA_DIR} ${PROJECT_BINARY_DIR}/llama.cpp EXCLUDE_FROM_ALL SYSTEM)
else()
  # What an earlier configure found may belong to another prefix.
  foreach(found Llama_DIR ggml_DIR llama_LIBRARY)
    unset(${found} CACHE)
  endforeach()
  find_package(Llama QUIET CONFIG PATHS "${KVSPLICE_SETUP_LLAMA}" NO_DEFAULT_PATH)
  if(NOT Llama_FOUND)
    message(FATAL_ERROR "No llama.cpp at '${KVSPLICE_SETUP_LLAMA}': run tools/setup.sh, or name an "
      "install prefix or a source tree with -DKVSPLICE_LLAMA_DIR=...")
  endif()
  message(STATUS "llama.cpp: ${KVSPLICE_SETUP_LLAMA}")
endif()
