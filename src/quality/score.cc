#include "quality/score.h"

#include <algorithm>
#include <cmath>

namespace kvsplice::quality {

size_t log_softmax(std::span<const float> logits, std::span<float> out) {
  const size_t best = std::max_element(logits.begin(), logits.end()) - logits.begin();
  const float top = logits[best];
  double sum = 0;
  for (float x : logits) sum += std::exp(x - top);
  const float shift = top + static_cast<float>(std::log(sum));
  for (size_t i = 0; i < logits.size(); ++i) out[i] = logits[i] - shift;
  return best;
}

void Perplexity::add(double nll) {
  sum_ += nll;
  squares_ += nll * nll;
  ++count_;
}

double Perplexity::value() const { return std::exp(sum_ / double(count_)); }

double Perplexity::error() const {
  if (count_ < 2) return 0;
  const double mean = sum_ / double(count_);
  const double variance = std::max(0.0, squares_ / double(count_) - mean * mean);
  return value() * std::sqrt(variance / double(count_ - 1));
}

Divergence::Sample Divergence::compare(std::span<const float> log_p, std::span<const float> log_q,
                                       size_t target) {
  double kld = 0;
  size_t best_p = 0, best_q = 0;
  for (size_t i = 0; i < log_p.size(); ++i) {
    kld += std::exp(log_p[i]) * (log_p[i] - log_q[i]);
    if (log_p[i] > log_p[best_p]) best_p = i;
    if (log_q[i] > log_q[best_q]) best_q = i;
  }
  const double dp = std::exp(double(log_q[target])) - std::exp(double(log_p[target]));
  return {kld, dp, best_p == best_q};
}

void Divergence::add(const Sample& sample) {
  klds_.push_back(sample.kld);
  dp_squares_ += sample.dp * sample.dp;
  same_ += sample.same_top;
}

void Divergence::add(std::span<const float> log_p, std::span<const float> log_q, size_t target) {
  add(compare(log_p, log_q, target));
}

Divergence::Summary Divergence::summary() const {
  Summary s;
  if (klds_.empty()) return s;
  std::vector<double> sorted = klds_;
  std::sort(sorted.begin(), sorted.end());
  const double n = double(sorted.size());
  for (double k : sorted) s.mean += k / n;
  s.median = sorted[sorted.size() / 2];
  s.p99 = sorted[sorted.size() * 99 / 100];
  s.top1_percent = 100 * double(same_) / n;
  s.rms_dp_percent = 100 * std::sqrt(dp_squares_ / n);
  return s;
}

}  // namespace kvsplice::quality
