#include "line_reader.h"

#include <poll.h>
#include <unistd.h>

#include "core/descriptor.h"
#include "core/errors.h"
#include "terminal.h"

namespace kvsplice::app {

namespace {

// Waits until there is something to read. Ctrl-C is looked for between waits: a call that it should
// cut short could begin just behind it.
void wait_for_input() {
  constexpr int kMilliseconds = 100;
  pollfd input{STDIN_FILENO, POLLIN, 0};
  while (!interrupted() && ::poll(&input, 1, kMilliseconds) == 0) {
  }
}

}  // namespace

Result<> LineReader::read_more() {
  constexpr size_t kMostBytes = size_t{1} << 28;
  wait_for_input();
  if (interrupted()) {
    ended_ = true;
    read_.clear();
    return {};
  }
  char some[4096];
  const ptrdiff_t n = os::read_some(STDIN_FILENO, some, sizeof some);
  if (n < 0) return system_error("read", "the standard input");
  ended_ = n == 0;
  read_.append(some, size_t(n));
  if (read_.size() <= kMostBytes) return {};
  return usage_error("a line of the standard input is too long");
}

Result<std::optional<std::string>> LineReader::line() {
  while (read_.find('\n') == read_.npos && !ended_) KVS_TRY(read_more());
  if (read_.empty()) return std::optional<std::string>();
  const size_t end = read_.find('\n');
  const std::string line = read_.substr(0, end);
  read_.erase(0, end == read_.npos ? end : end + 1);
  return std::optional(line);
}

Result<std::optional<std::string>> LineReader::message() {
  std::string text;
  for (;;) {
    KVS_ASSIGN(const auto next, line());
    if (!next) return text.empty() ? next : std::optional(text);
    text += *next;
    if (!text.ends_with('\\')) return std::optional(text);
    text.back() = '\n';
  }
}

}  // namespace kvsplice::app
