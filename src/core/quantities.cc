#include "core/quantities.h"

#include <fmt/format.h>

#include <charconv>
#include <span>

#include "core/errors.h"

namespace kvsplice {

namespace {

struct Unit {
  std::string_view name;
  uint64_t worth;
};

constexpr uint64_t kKibi = 1024;
constexpr Unit kSizes[] = {{"K", kKibi},
                           {"M", kKibi* kKibi},
                           {"G", kKibi* kKibi* kKibi},
                           {"T", kKibi* kKibi* kKibi* kKibi}};
constexpr Unit kDurations[] = {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 24 * 3600}};

// The number in front of a unit, which may be left out.
bool parse(std::string_view text, std::span<const Unit> units, uint64_t& out) {
  uint64_t worth = 1;
  for (const Unit& unit : units) {
    if (!text.ends_with(unit.name)) continue;
    worth = unit.worth;
    text.remove_suffix(unit.name.size());
    break;
  }
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, out);
  if (code != std::errc() || stop != end || out > UINT64_MAX / worth) return false;
  out *= worth;
  return true;
}

}  // namespace

Result<uint64_t> parse_size(std::string_view text) {
  uint64_t bytes = 0;
  if (parse(text, kSizes, bytes)) return bytes;
  return usage_error(fmt::format(
      "'{}' is no size; legal: whole numbers of bytes, or of K, M, G, T as in 20G", text));
}

Result<uint64_t> parse_duration(std::string_view text) {
  uint64_t seconds = 0;
  if (parse(text, kDurations, seconds)) return seconds;
  return usage_error(fmt::format(
      "'{}' is no duration; legal: whole numbers of seconds, or of s, m, h, d as in 30d", text));
}

std::string print_size(uint64_t bytes) {
  std::string unit = "B";
  double number = double(bytes);
  for (const Unit& u : kSizes) {
    if (bytes < u.worth) break;
    unit = fmt::format("{}iB", u.name);
    number = double(bytes) / double(u.worth);
  }
  return bytes < kKibi ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", number, unit);
}

std::string print_duration(uint64_t seconds) {
  Unit largest = kDurations[0];
  for (const Unit& u : kDurations) {
    if (seconds >= u.worth) largest = u;
  }
  return fmt::format("{} {}", seconds / largest.worth, largest.name == "m" ? "min" : largest.name);
}

}  // namespace kvsplice
