// An option whose value is a number in a range: what is no number, or outside, is wrong usage.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <optional>

#include "core/params.h"

namespace kvsplice::app {

template <class T>
struct Number {
  using type = T;
};
template <class T>
struct Number<std::optional<T>> {
  using type = T;
};
template <class T>
using NumberOf = typename Number<T>::type;

// Whether all of the text is a number in the range; the comparison is such that NaN fails it.
template <class T>
bool parse_number(std::string_view text, const Range& range, T& out) {
  NumberOf<T> value{};
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, value);
  const bool legal = double(value) >= range.low && double(value) <= range.high;
  if (code != std::errc() || stop != end || !legal) return false;
  out = value;
  return true;
}

template <class T>
std::string print_number(const T& value) {
  return fmt::format("{}", value);
}
template <class T>
std::string print_number(const std::optional<T>& value) {
  return value ? print_number(*value) : std::string();
}

// Numbers of tokens that a session can hold.
constexpr Range kSomeTokens{1, 1 << 28}, kTokens{0, 1 << 28};
// Seeds are whole numbers that a double holds exactly, so that the range can be said.
constexpr Range kSeeds{0, 9007199254740991};

// `value` is an int, size_t, int64_t or double, or std::optional of one: no default.
template <class T>
CLI::Option* add_number(CLI::App& app, const std::string& names, T& value, const Range& range,
                        const std::string& help) {
  CLI::Option* option = app.add_option_function<std::string>(
      names,
      [names, &value, range](const std::string& text) {
        const std::string name = names.substr(names.rfind(',') + 1);
        if (!parse_number(text, range, value)) {
          throw CLI::ValidationError(fmt::format("{} = '{}' is not allowed; legal: {}", name, text,
                                                 params_detail::allowed(range)));
        }
      },
      help);
  option->type_name(fmt::format("{} ({})",
                                std::is_floating_point_v<NumberOf<T>> ? "number" : "integer",
                                params_detail::allowed(range)));
  option->default_str(print_number(value));
  return option;
}

// "0,7-9" -> 0 7 8 9.
inline bool parse_numbers(std::string_view text, std::vector<int>& out) {
  constexpr Range kLegal{0, 1 << 16};
  for (size_t first = 0; first <= text.size();) {
    const size_t end = std::min(text.find(',', first), text.size());
    const std::string_view part = text.substr(first, end - first);
    const size_t dash = std::min(part.find('-'), part.size());
    int low = 0, high = 0;
    if (!parse_number(part.substr(0, dash), kLegal, low)) return false;
    high = low;
    if (dash < part.size() && !parse_number(part.substr(dash + 1), kLegal, high)) return false;
    if (high < low) return false;
    for (int i = low; i <= high; ++i) out.push_back(i);
    first = end + 1;
  }
  return true;
}

inline CLI::Option* add_numbers(CLI::App& app, const std::string& name, std::vector<int>& values,
                                const std::string& help) {
  CLI::Option* option = app.add_option_function<std::string>(
      name,
      [name, &values](const std::string& text) {
        values.clear();
        if (parse_numbers(text, values)) return;
        throw CLI::ValidationError(fmt::format(
            "{} = '{}' is not allowed; legal: numbers and ranges like 0,7-9", name, text));
      },
      help);
  return option->type_name("0,7-9");
}

inline CLI::Option* add_threads(CLI::App& app, int& threads) {
  return add_number(app, "-t,--threads", threads, {0, 1024}, "threads; 0: all");
}

}  // namespace kvsplice::app
