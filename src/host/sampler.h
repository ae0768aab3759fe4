// Chooses the next token from logits.
#pragma once

#include <span>
#include <vector>

#include "core/random.h"
#include "host/model.h"

namespace kvsplice::host {

// In the order in which they act. What is off leaves the distribution as it is.
struct SamplerOptions {
  double repeat_penalty = 1;  // divides the positive logits of recent tokens, multiplies negative
  int repeat_last = 64;       // how many tokens are recent
  int top_k = 40;             // keeps the likeliest; 0: off
  double top_p = 0.95;        // keeps the likeliest that together have this probability; 1: off
  double min_p = 0.05;        // keeps tokens of at least this share of the likeliest; 0: off
  double temperature = 0.8;   // 0: always the likeliest
  uint64_t seed = 0;
};

class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options) : options_(options), random_(options.seed) {}

  // `recent`: the tokens so far, oldest first. Error numeric: see check_logits.
  Result<Token> sample(std::span<const float> logits, std::span<const Token> recent);

 private:
  SamplerOptions options_;
  Random random_;
};

Result<> check(const SamplerOptions& options);

// Error numeric if they tell nothing about what comes next: one is not a number or +infinity, or
// all are -infinity.
Result<> check_logits(std::span<const float> logits);

}  // namespace kvsplice::host
