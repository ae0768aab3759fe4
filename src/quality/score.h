// What two runs of a model over the same tokens say about each other. All in nats; exact float
// log-probabilities of the base stay in memory, so nothing is rounded (docs/quality.md).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kvsplice/matrix.h"
#include "kvsplice/result.h"

namespace kvsplice::quality {

// log softmax of `logits`, written to `out` (same size); returns the index of the largest.
size_t log_softmax(std::span<const float> logits, std::span<float> out);

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
  // log_p, log_q: log-probabilities of one position; target: the token that came.
  void add(std::span<const float> log_p, std::span<const float> log_q, size_t target);

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
  static Sample compare(std::span<const float> log_p, std::span<const float> log_q, size_t target);
  void add(const Sample& sample);

 private:
  std::vector<double> klds_;
  double dp_squares_ = 0;
  size_t same_ = 0;
};

}  // namespace kvsplice::quality
