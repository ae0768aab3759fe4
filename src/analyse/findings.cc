#include "analyse/findings.h"

#include <fmt/format.h>

#include <cmath>

#include "analyse/sequence.h"

namespace kvsplice::analyse {

namespace {

using host::Signal;

constexpr double kWorthwhile = 0.05;  // bits per value that justify a more costly choice
constexpr size_t kAt = 1;             // sentences quote rates at kDistortions[kAt], 5 %

std::string percent(double share) { return fmt::format("{:.0f} %", 100 * share); }

struct Scope {
  const char* with;  // "with a KLT per head"
  const char* advice;
  double bits;
};

std::vector<Scope> scopes_of(const SignalAnalysis& s) {
  std::vector<Scope> scopes = {
      {"without a transform", "a transform is not worth its cost", s.coordinate.bits[kAt]},
      {"with a KLT per head", "a KLT per head is enough", s.head.bits[kAt]},
      {"with one over all heads of a layer", "join the heads of a layer", s.layer.bits[kAt]}};
  if (s.joint) {
    scopes.push_back(
        {"with one over all layers", "join all layers, or predict across them", s.model.bits[kAt]});
  }
  return scopes;
}

// The narrowest scope that no wider one beats by enough.
std::string scope_sentence(const SignalAnalysis& s) {
  const auto scopes = scopes_of(s);
  size_t best = 0;
  std::string figures;
  for (size_t i = 0; i < scopes.size(); ++i) {
    if (scopes[i].bits < scopes[best].bits - kWorthwhile) best = i;
    figures += fmt::format("{}{:.2f} {}", i == 0 ? "" : ", ", scopes[i].bits, scopes[i].with);
  }
  std::string sentence =
      fmt::format("{}: {}. Bits per value at {} error energy: {}.", plain_name(s.signal),
                  scopes[best].advice, percent(kDistortions[kAt]), figures);
  sentence[0] = static_cast<char>(std::toupper(sentence[0]));
  if (s.joint && s.joint_fit_rows < 2 * s.joint_width) {
    sentence += fmt::format(
        " (All layers: learnt from {} rows of {} values; more rows would need "
        "fewer bits.)",
        s.joint_fit_rows, s.joint_width);
  }
  return sentence;
}

std::string rotation_sentence(const SignalAnalysis& before, const SignalAnalysis& after) {
  const double b = before.layer.bits[kAt], a = after.layer.bits[kAt];
  const char* advice = "Keys compress equally well before and after RoPE";
  if (b < a - kWorthwhile) advice = "Compress keys before RoPE";
  if (a < b - kWorthwhile) advice = "Compress keys after RoPE";
  return fmt::format(
      "{}: {:.2f} bits per value before and {:.2f} after it at {} error energy, KLT per layer.",
      advice, b, a, percent(kDistortions[kAt]));
}

std::string position_sentence(const SignalAnalysis& s) {
  const double gain = ar1_gain(s.lag1);
  const char* advice = gain < 0.25  ? "position codes cannot work"
                       : gain < 1.0 ? "position codes save little"
                                    : "position codes are worth trying";
  return fmt::format(
      "{} by position: {}. A lag-1 autocorrelation of {:.3f} is worth {:.2f} bits per value.",
      s.signal == Signal::value ? "Values" : "Keys", advice, s.lag1, gain);
}

std::string mean_sentence(const SignalAnalysis& s) {
  if (s.mean_share < 0.05) {
    return fmt::format("The mean of {} carries {} of their energy: removing it hardly matters.",
                       plain_name(s.signal), percent(s.mean_share));
  }
  std::string sentence =
      fmt::format("The mean of {} carries {} of their energy: remove it before a transform.",
                  plain_name(s.signal), percent(s.mean_share));
  if (s.signal == Signal::key_before_rope) {
    sentence += fmt::format(
        " Rotated to each position it alone reproduces keys with a cosine of about {:.2f}.",
        std::sqrt(s.mean_share));
  }
  return sentence;
}

std::string tail_sentence(const SignalAnalysis& s) {
  return fmt::format("{} of {} (excess kurtosis {:.1f}): {}.",
                     s.kurtosis > 1 ? "Heavy tails" : "Near-normal coordinates",
                     plain_name(s.signal), s.kurtosis,
                     s.kurtosis > 1 ? "entropy-code rather than clip"
                                    : "the rates above, which assume Gaussians, hold");
}

std::string rank_sentence(const SignalAnalysis& s) {
  return fmt::format(
      "{} of the dimensions hold 99 % of the singular values of {}: {}.", percent(s.rank_ratio),
      plain_name(s.signal),
      s.rank_ratio > 0.5 ? "quantise the spectrum, do not cut it" : "cutting dimensions can work");
}

}  // namespace

const char* plain_name(Signal signal) {
  switch (signal) {
    case Signal::key:
      return "keys as stored";
    case Signal::key_before_rope:
      return "keys before RoPE";
    case Signal::value:
      return "values";
    case Signal::query:
      return "queries";
  }
  return "";
}

const char* label(double value) {
  return value > 0.5 ? "GOOD" : value > 0.2 ? "CONCERNING" : "BAD";
}

const char* verdict(double key_lag1, double key_low10) {
  if (key_lag1 > 0.5 && key_low10 > 0.5) return "PROMISING";
  return key_lag1 > 0.2 || key_low10 > 0.3 ? "MIXED" : "CHALLENGING";
}

std::vector<std::string> suggestions(const Analysis& analysis) {
  std::vector<std::string> list;
  for (const SignalAnalysis& s : analysis.signals) {
    if (s.fit_rows >= 2 * s.layer_width) continue;
    list.push_back(
        fmt::format("Only {} rows to learn a basis for the {} values of a layer from: "
                    "all rates are too high; dump more text.",
                    s.fit_rows, s.layer_width));
    break;
  }
  const SignalAnalysis* after = analysis.find(Signal::key);
  const SignalAnalysis* before = analysis.find(Signal::key_before_rope);
  const SignalAnalysis* values = analysis.find(Signal::value);
  if (before && after) list.push_back(rotation_sentence(*before, *after));
  const SignalAnalysis* keys = before ? before : after;
  for (const auto* s : {keys, values}) {
    if (s) list.push_back(scope_sentence(*s));
  }
  for (const auto* s : {keys, values}) {
    if (!s) continue;
    list.push_back(mean_sentence(*s));
    list.push_back(tail_sentence(*s));
    list.push_back(rank_sentence(*s));
  }
  for (const auto* s : {after, values}) {
    if (s) list.push_back(position_sentence(*s));
  }
  return list;
}

}  // namespace kvsplice::analyse
