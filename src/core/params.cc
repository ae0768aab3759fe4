#include "core/params.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace kvsplice::params_detail {

std::string print(int v) { return std::to_string(v); }
std::string print(double v) { return fmt::format("{}", v); }
std::string print(const std::vector<int>& v) { return fmt::format("{}", fmt::join(v, ",")); }

std::string allowed(const Range& range) { return fmt::format("{} ... {}", range.low, range.high); }
std::string allowed(const Choice& choice) {
  return fmt::format("{}", fmt::join(choice.names, ", "));
}

namespace {

Error bad_value(std::string_view key, std::string_view text, const std::string& legal) {
  return {ErrorKind::usage, fmt::format("{} = '{}' is not allowed; legal: {}", key, text, legal)};
}

template <class T>
Result<> parse_number(std::string_view key, std::string_view text, const Range& range, T& out) {
  T value{};
  const char* end = text.data() + text.size();
  auto [stop, code] = std::from_chars(text.data(), end, value);
  const bool whole = code == std::errc() && stop == end;
  // The comparison is written so that NaN fails it.
  if (!whole || !(value >= range.low && value <= range.high)) {
    return bad_value(key, text, allowed(range));
  }
  out = value;
  return {};
}

}  // namespace

Result<> parse(std::string_view key, std::string_view text, const Range& range, int& out) {
  return parse_number(key, text, range, out);
}

Result<> parse(std::string_view key, std::string_view text, const Range& range, double& out) {
  return parse_number(key, text, range, out);
}

Result<> parse(std::string_view key, std::string_view text, const Choice& choice,
               std::string& out) {
  if (std::find(choice.names.begin(), choice.names.end(), text) == choice.names.end()) {
    return bad_value(key, text, allowed(choice));
  }
  out = text;
  return {};
}

Result<> parse(std::string_view key, std::string_view text, const Range& range,
               std::vector<int>& out) {
  out.clear();
  for (size_t first = 0; first <= text.size();) {
    const size_t end = std::min(text.find(',', first), text.size());
    KVS_TRY(parse_number(key, text.substr(first, end - first), range, out.emplace_back()));
    first = end + 1;
  }
  return {};
}

Result<> parse(std::string_view key, std::string_view text, const FreeText& any, std::string& out) {
  if (text.empty()) return bad_value(key, text, allowed(any));
  out = text;
  return {};
}

Error unknown_key(std::string_view owner, std::string_view key,
                  const std::vector<ParamInfo>& known) {
  std::vector<std::string> names;
  for (const auto& p : known) names.push_back(p.name);
  return {ErrorKind::usage, known.empty()
                                ? fmt::format("{} takes no parameters, got '{}'", owner, key)
                                : fmt::format("{} has no parameter '{}'; legal: {}", owner, key,
                                              fmt::join(names, ", "))};
}

}  // namespace kvsplice::params_detail
