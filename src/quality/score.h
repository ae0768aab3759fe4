// What two runs of a model over the same tokens say about each other. All in nats, from the logits
// of both as they come, so nothing is rounded and no table of them is kept (docs/quality.md).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/matrix.h"
#include "kvsplice/result.h"

namespace kvsplice::quality {

// The logarithms of the softmax of `logits`, which must outlive it.
class LogProbs {
 public:
  LogProbs() = default;
  explicit LogProbs(std::span<const float> logits);
  size_t size() const { return logits_.size(); }
  float operator[](size_t i) const { return logits_[i] - shift_; }
  size_t best() const { return best_; }  // index of the largest, the first of equals

 private:
  std::span<const float> logits_;
  float shift_ = 0;
  size_t best_ = 0;
};

// Perplexity over scored tokens: exp of the mean negative log-likelihood, and its standard error.
class Perplexity {
 public:
  void add(double nll);
  size_t count() const { return count_; }
  double value() const;
  double error() const;  // value * sqrt(var(nll) / (n - 1))

 private:
  double sum_ = 0, squares_ = 0;
  size_t count_ = 0;
};

// Divergence of a run q from the base p.
class Divergence {
 public:
  // Of one position; target: the token that came.
  void add(const LogProbs& log_p, const LogProbs& log_q, size_t target);

  struct Summary {
    double mean = 0, median = 0, p99 = 0;  // KLD(p || q)
    double top1_percent = 0;               // positions where the likeliest token is the same
    double rms_dp_percent = 0;             // rms change of the target's probability, in points
  };
  Summary summary() const;
  size_t count() const { return klds_.size(); }

  // Scored positions of a chunk can be computed apart and appended in order.
  struct Sample {
    double kld, dp;
    bool same_top;
  };
  static Sample compare(const LogProbs& log_p, const LogProbs& log_q, size_t target);
  void add(const Sample& sample);

 private:
  std::vector<double> klds_;
  double dp_squares_ = 0;
  size_t same_ = 0;
};

}  // namespace kvsplice::quality
