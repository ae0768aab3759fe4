#include "report/axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace kvsplice::report {

namespace {

constexpr double kRoom = 0.05;  // of the range, on each side

std::string superscript(int value) {
  static const std::array<const char*, 10> digits = {"⁰", "¹", "²", "³", "⁴",
                                                     "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string out = value < 0 ? "⁻" : "";
  for (const char c : std::to_string(std::abs(value))) out += digits[c - '0'];
  return out;
}

std::string power_label(double mantissa, int exponent) {
  const std::string factor = mantissa == 1 ? "" : fmt::format("{:g}×", mantissa);
  return factor + "10" + superscript(exponent);
}

// The smallest of 1, 2, 2.5, 5 times a power of ten that is at least `least`.
double nice_step(double least) {
  const double power = std::pow(10, std::floor(std::log10(least)));
  for (const double m : {1.0, 2.0, 2.5, 5.0}) {
    if (m * power >= least * (1 - 1e-9)) return m * power;
  }
  return 10 * power;
}

// Digits after the point that tell multiples of a nice step apart.
int decimals_of(double step) {
  const int exponent = static_cast<int>(std::floor(std::log10(step) + 1e-9));
  const bool quarter = std::abs(step / std::pow(10, exponent) - 2.5) < 1e-6;
  return std::max(0, -exponent + quarter);
}

std::vector<Tick> linear_ticks(const Axis& axis, int most) {
  std::vector<Tick> ticks;
  const double step = nice_step((axis.high - axis.low) / most);
  const double first = std::ceil(axis.low / step - 1e-9),
               last = std::floor(axis.high / step + 1e-9);
  const double size = step * std::max(std::abs(first), std::abs(last));
  for (double i = first; i <= last; ++i)
    ticks.push_back({i * step, tick_label(i * step, step, size)});
  return ticks;
}

bool in_range(const Axis& axis, double value) {
  return value >= axis.low * (1 - 1e-9) && value <= axis.high * (1 + 1e-9);
}

// Multiples `mantissas` of every `every`-th power of ten inside the range.
std::vector<Tick> decade_ticks(const Axis& axis, const std::vector<double>& mantissas, int every) {
  std::vector<Tick> ticks;
  const int first = static_cast<int>(std::floor(std::log10(axis.low)));
  const int last = static_cast<int>(std::ceil(std::log10(axis.high)));
  const bool plain = axis.low >= 0.9e-3 && axis.high <= 1.1e5;
  for (int e = first; e <= last; ++e) {
    if (e % every != 0) continue;
    for (const double m : mantissas) {
      const double value = m * std::pow(10, e);
      if (!in_range(axis, value)) continue;
      ticks.push_back({value, plain ? fmt::format("{:g}", value) : power_label(m, e)});
    }
  }
  return ticks;
}

// Context lengths, ranks and bits are powers of two; their axis should name these.
bool powers_of_two(const std::vector<double>& values) {
  const bool all = std::all_of(values.begin(), values.end(), [](double v) {
    int exponent;
    return v >= 1 && v <= 1 << 24 && std::frexp(v, &exponent) == 0.5;
  });
  return all && values.size() >= 3;
}

std::vector<Tick> log_ticks(const Axis& axis, const std::vector<double>& values, int most) {
  if (powers_of_two(values)) {
    std::vector<Tick> ticks;
    const int octaves = static_cast<int>(std::log2(axis.high / axis.low));
    const int every = octaves / (most + 1) + 1;
    const int first = static_cast<int>(std::ceil(std::log2(axis.low)));
    for (int e = first; std::exp2(e) <= axis.high; e += every) {
      ticks.push_back({std::exp2(e), fmt::format("{:g}", std::exp2(e))});
    }
    return ticks;
  }
  const int decades = static_cast<int>(std::ceil(std::log10(axis.high / axis.low)));
  const std::vector<std::pair<std::vector<double>, int>> choices = {
      {{1, 2, 3, 4, 5, 6, 7, 8, 9}, 1},
      {{1, 1.5, 2, 3, 5, 7}, 1},
      {{1, 2, 5}, 1},
      {{1, 3}, 1},
      {{1}, 1},
      {{1}, decades / most + 1}};
  for (const auto& [mantissas, every] : choices) {
    auto ticks = decade_ticks(axis, mantissas, every);
    if (static_cast<int>(ticks.size()) <= most) {
      // Less than a decade may hold too few of these; even steps always suit a short range.
      return ticks.size() < 2 ? linear_ticks(axis, most) : ticks;
    }
  }
  return decade_ticks(axis, {1}, decades / most + 2);
}

void spread_linear(Axis& axis, bool from_zero) {
  if (from_zero) {
    axis.low = std::min(axis.low, 0.0);
    axis.high = std::max(axis.high, 0.0);
  }
  double span = axis.high - axis.low;
  // All values (nearly) equal: show them in the middle of something of their own size.
  const double size = std::max(std::abs(axis.low), std::abs(axis.high));
  if (!(span > size * 1e-9)) span = size > 0 ? size : 1;
  if (!(from_zero && axis.low == 0)) axis.low -= kRoom * span;
  if (!(from_zero && axis.high == 0 && axis.low < 0)) axis.high += kRoom * span;
}

void spread_log(Axis& axis) {
  const double room = std::max(std::pow(axis.high / axis.low, kRoom), 1.02);
  axis.low /= room;
  axis.high *= room;
}

}  // namespace

bool Axis::shows(double value) const {
  return std::isfinite(value) && std::abs(value) < 1e300 && (!log || value > 1e-300);
}

double Axis::fraction(double value) const {
  return log ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
}

Axis make_axis(const std::vector<double>& values, bool log, bool from_zero, int most_ticks) {
  Axis axis;
  axis.log = log;
  std::vector<double> shown;
  std::copy_if(values.begin(), values.end(), std::back_inserter(shown),
               [&](double v) { return axis.shows(v); });
  if (shown.empty()) return {};
  axis.empty = false;
  std::sort(shown.begin(), shown.end());
  shown.erase(std::unique(shown.begin(), shown.end()), shown.end());
  axis.low = shown.front();
  axis.high = shown.back();
  if (log) {
    spread_log(axis);
    axis.ticks = log_ticks(axis, shown, most_ticks);
  } else {
    spread_linear(axis, from_zero);
    axis.ticks = linear_ticks(axis, most_ticks);
  }
  return axis;
}

std::string tick_label(double value, double step, double size) {
  if (std::abs(value) < step * 1e-6) return "0";
  if (size < 1e-3) {
    const int power = static_cast<int>(std::floor(std::log10(step) + 1e-9));
    const double mantissa = std::round(value / std::pow(10, power) * 1e3) / 1e3;
    return fmt::format("{:g}×10{}", mantissa, superscript(power));
  }
  struct Unit {
    double from, value;
    const char* letter;
  };
  static constexpr Unit units[] = {
      {1e12, 1e12, "T"}, {1e9, 1e9, "G"}, {1e6, 1e6, "M"}, {1e4, 1e3, "k"}, {0, 1, ""}};
  const Unit& large = *std::find_if(std::begin(units), std::end(units),
                                    [&](const Unit& u) { return size >= u.from; });
  // A unit that would need many digits after the point helps nobody.
  const Unit& unit = decimals_of(step / large.value) <= 2 ? large : units[4];
  if (size >= 1e16) return fmt::format("{:.3g}", value);
  return fmt::format("{:.{}f}{}", value / unit.value, decimals_of(step / unit.value), unit.letter);
}

}  // namespace kvsplice::report
