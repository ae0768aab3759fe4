#include "host/log.h"

#include <llama.h>

#include <mutex>
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
  first_error = names_function ? line.substr(colon + 2) : line;
}

}  // namespace

void listen_to_log() {
  static std::once_flag installed;
  std::call_once(installed, [] { llama_log_set(keep_error, nullptr); });
  first_error.clear();
}

std::string first_log_error(const std::string& otherwise) {
  return first_error.empty() ? otherwise : first_error;
}

}  // namespace kvsplice::host
