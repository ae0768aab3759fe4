#include "quality/score.h"

#include <algorithm>
#include <cmath>

namespace kvsplice::quality {

LogProbs::LogProbs(std::span<const float> logits) : logits_(logits) {
  best_ = size_t(std::max_element(logits.begin(), logits.end()) - logits.begin());
  const float top = logits[best_];
  double sum = 0;
  for (float x : logits) sum += std::exp(x - top);
  shift_ = top + static_cast<float>(std::log(sum));
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

Divergence::Sample Divergence::compare(const LogProbs& log_p, const LogProbs& log_q,
                                       size_t target) {
  double kld = 0;
  for (size_t i = 0; i < log_p.size(); ++i) kld += std::exp(log_p[i]) * (log_p[i] - log_q[i]);
  const double dp = std::exp(double(log_q[target])) - std::exp(double(log_p[target]));
  return {kld, dp, log_p.best() == log_q.best()};
}

void Divergence::add(const Sample& sample) {
  klds_.push_back(sample.kld);
  dp_squares_ += sample.dp * sample.dp;
  same_ += sample.same_top;
}

void Divergence::add(const LogProbs& log_p, const LogProbs& log_q, size_t target) {
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
