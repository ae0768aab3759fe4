# Language level, warnings, sanitizers and ccache, for our own code only: a llama.cpp source tree
# built as a sub-project keeps its own flags.

set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

find_program(KVSPLICE_CCACHE ccache)
if(KVSPLICE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${KVSPLICE_CCACHE})
  # Otherwise it keeps nothing that is compiled behind precompiled headers.
  set(CMAKE_CXX_COMPILER_LAUNCHER
    ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${KVSPLICE_CCACHE})
endif()

# Everything of ours links this target: C++20, warnings, include root, sanitizers.
add_library(kvsplice_flags INTERFACE)
target_compile_features(kvsplice_flags INTERFACE cxx_std_20)
target_include_directories(kvsplice_flags INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src> $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)
target_compile_definitions(kvsplice_flags INTERFACE KVSPLICE_VERSION="${PROJECT_VERSION}")

add_library(kvsplice_warnings INTERFACE)
target_compile_options(kvsplice_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-qual
  -Wformat=2 -Wimplicit-fallthrough -Wvla $<$<BOOL:${KVSPLICE_WERROR}>:-Werror>
  # GCC 12 warns of these inside its own std::string, std::vector and std::variant, wrongly.
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict -Wno-maybe-uninitialized -Wno-stringop-overread>)

if(KVSPLICE_SANITIZE)
  set(sanitize -fsanitize=${KVSPLICE_SANITIZE})
  target_compile_options(kvsplice_flags INTERFACE
    ${sanitize} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(kvsplice_flags INTERFACE ${sanitize})
endif()

if(KVSPLICE_FUZZ_ENGINE)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "KVSPLICE_FUZZ_ENGINE needs clang, the compiler is ${CMAKE_CXX_COMPILER_ID}")
  endif()
  target_compile_options(kvsplice_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
