#include "serve/record.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdio>

namespace kvsplice::serve {

namespace {

double rounded(double value) { return std::round(value * 1e4) / 1e4; }

}  // namespace

void Record::add(Served served) {
  const std::lock_guard lock(mutex_);
  counts_.handled += 1;
  counts_.failed += served.status >= 400 || served.status == 0;
  counts_.prompt_tokens += served.prompt;
  counts_.restored_tokens += served.restored;
  counts_.cached_tokens += served.cached;
  counts_.saved_seconds += served.saved_seconds;
  last_.push_front(std::move(served));
  if (last_.size() > kKept) last_.pop_back();
}

Counts Record::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

std::deque<Served> Record::last() const {
  const std::lock_guard lock(mutex_);
  return last_;
}

Json to_json(const Served& s) {
  return {{"at", s.at},
          {"api", s.api},
          {"status", s.status},
          {"slot", s.slot},
          {"prompt_tokens", s.prompt},
          {"restored_tokens", s.restored},
          {"slot_tokens", s.there},
          {"cached_tokens", s.cached},
          {"predicted_tokens", s.predicted},
          {"restore_seconds", rounded(s.restore_seconds)},
          {"first_byte_seconds", rounded(s.first_byte_seconds)},
          {"seconds", rounded(s.seconds)},
          {"saved_seconds", rounded(s.saved_seconds)},
          {"why_not_restored", s.why_not}};
}

void log_line(const std::string& what, const Json& pairs) {
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  std::string line = fmt::format("{:%Y-%m-%dT%H:%M:%SZ} {}", fmt::gmtime(now), what);
  for (const auto& [key, value] : pairs.items()) {
    std::string text = value.is_string() ? value.get<std::string>() : print_json(value);
    if (text.empty()) continue;
    if (value.is_string() && text.find_first_of(" \"\n=") != text.npos) text = print_json(value);
    line += fmt::format(" {}={}", key, text);
  }
  line += '\n';
  std::fputs(line.c_str(), stderr);
}

}  // namespace kvsplice::serve
