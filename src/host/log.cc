#include "host/log.h"

#include <ggml.h>
#include <llama.h>

#include <mutex>
#include <new>
#include <string_view>

namespace kvsplice::host {

namespace {

thread_local std::string first_error;

void keep_error(ggml_log_level level, const char* text, void*) {
  if (level != GGML_LOG_LEVEL_ERROR || !first_error.empty()) return;
  std::string_view line = text;
  while (!line.empty() && line.back() == '\n') line.remove_suffix(1);
  const size_t colon = line.find(": ");
  const bool names_function = colon != line.npos && line.find(' ') > colon;
  try {
    first_error = names_function ? line.substr(colon + 2) : line;
  } catch (const std::bad_alloc&) {
    first_error = "bad_alloc";  // as ggml calls it, and short enough to need no memory
  }
}

}  // namespace

void listen_to_log() {
  static std::once_flag installed;
  std::call_once(installed, [] { llama_log_set(keep_error, nullptr); });
  first_error.clear();
}

namespace {

void (*end_of_process)(const char* reason) = nullptr;

void give_up(const char* reason) {
  const std::string_view text = reason;
  const bool memory = text.find("alloc") != text.npos || text.find("buffer") != text.npos;
  end_of_process(memory ? "out of memory" : reason);
}

}  // namespace

void when_llama_gives_up(void (*end)(const char* reason)) {
  end_of_process = end;
  ggml_set_abort_callback(give_up);
}

ErrorKind kind_of_log_error(ErrorKind otherwise) {
  // "bad_alloc", "failed to allocate ...", "Cannot allocate memory"
  return first_error.find("alloc") != std::string::npos ? ErrorKind::memory : otherwise;
}

std::string first_log_error(const std::string& otherwise) {
  if (first_error.empty()) return otherwise;
  const bool memory = kind_of_log_error(ErrorKind::format) == ErrorKind::memory;
  return memory ? "out of memory: " + first_error : first_error;
}

}  // namespace kvsplice::host
