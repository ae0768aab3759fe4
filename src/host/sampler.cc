#include "host/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

namespace kvsplice::host {

namespace {

struct Candidate {
  Token token;
  float logit;
  double probability = 0;
};

Error out_of_range(const char* what, double value, const char* allowed) {
  return {ErrorKind::usage, fmt::format("{} = {}; legal: {}", what, value, allowed)};
}

bool likelier(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

}  // namespace

Result<> check(const SamplerOptions& o) {
  if (!(o.temperature >= 0)) return out_of_range("temperature", o.temperature, "0 or more");
  if (!(o.top_p >= 0 && o.top_p <= 1)) return out_of_range("top-p", o.top_p, "0 ... 1");
  if (!(o.min_p >= 0 && o.min_p <= 1)) return out_of_range("min-p", o.min_p, "0 ... 1");
  if (!(o.repeat_penalty > 0)) return out_of_range("repeat-penalty", o.repeat_penalty, "above 0");
  if (o.top_k < 0) return out_of_range("top-k", o.top_k, "0 or more");
  if (o.repeat_last < 0) return out_of_range("repeat-last", o.repeat_last, "0 or more");
  return {};
}

Result<> check_logits(std::span<const float> logits) {
  bool any = false;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i]) || logits[i] == std::numeric_limits<float>::infinity()) {
      return Error{
          ErrorKind::numeric,
          fmt::format("the model's logits are not numbers: that of token {} is {}", i, logits[i])};
    }
    any |= std::isfinite(logits[i]);
  }
  if (any) return {};
  return Error{ErrorKind::numeric,
               fmt::format("the model's logits are not numbers: all {} are -inf", logits.size())};
}

Result<Token> Sampler::sample(std::span<const float> logits, std::span<const Token> recent) {
  KVS_TRY(check_logits(logits));
  std::vector<Candidate> all(logits.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = {static_cast<Token>(i), logits[i]};
  const size_t last = std::min(recent.size(), static_cast<size_t>(options_.repeat_last));
  const std::set<Token> seen(recent.end() - static_cast<ptrdiff_t>(last), recent.end());
  for (Token token : seen) {
    if (token < 0 || size_t(token) >= all.size()) continue;
    float& logit = all[static_cast<size_t>(token)].logit;
    const auto penalty = static_cast<float>(options_.repeat_penalty);
    logit = logit > 0 ? logit / penalty : logit * penalty;
  }
  if (options_.temperature == 0) return std::min_element(all.begin(), all.end(), likelier)->token;

  size_t kept = all.size();
  if (options_.top_k > 0) kept = std::min(kept, static_cast<size_t>(options_.top_k));
  std::partial_sort(all.begin(), all.begin() + static_cast<ptrdiff_t>(kept), all.end(), likelier);
  all.resize(kept);
  double total = 0;
  for (Candidate& c : all) total += c.probability = std::exp(double(c.logit) - all[0].logit);
  double sum = 0;
  for (kept = 0; kept < all.size() && (kept == 0 || sum < options_.top_p * total); ++kept) {
    if (all[kept].probability < options_.min_p) break;  // the likeliest has 1
    sum += all[kept].probability;
  }
  all.resize(kept);
  total = 0;
  for (Candidate& c : all) {
    total += c.probability = std::exp((double(c.logit) - all[0].logit) / options_.temperature);
  }
  double left = random_.uniform() * total;
  for (const Candidate& c : all) {
    left -= c.probability;
    if (left < 0) return c.token;
  }
  return all.back().token;
}

}  // namespace kvsplice::host
