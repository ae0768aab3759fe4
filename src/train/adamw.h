// AdamW: Adam with decoupled weight decay on all parameters, as torch.optim.AdamW.
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "functions/elementwise_kernel.h"

namespace kvsplice::train {

struct AdamWOptions {
  double rate = 1e-3;
  double decay = 1e-4;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
};

template <class T>
class AdamW {
 public:
  AdamW(size_t parameters, const AdamWOptions& options)
      : options_(options), first_(parameters), second_(parameters) {}

  void set_rate(double rate) { options_.rate = rate; }

  // Moves the parameters against `scale` times the gradient.
  void step(std::span<T> parameters, std::span<const T> gradient, T scale = 1) {
    const double t = double(++steps_);
    elementwise_kernel::AdamWStep<T> s;
    s.beta1 = T(options_.beta1);
    s.beta2 = T(options_.beta2);
    s.epsilon = T(options_.epsilon);
    s.keep = T(1 - options_.rate * options_.decay);
    s.rate = T(options_.rate / (1 - std::pow(options_.beta1, t)));
    s.unbias = T(1 / std::sqrt(1 - std::pow(options_.beta2, t)));
    elementwise_kernel::adamw(s, gradient.data(), scale, first_.size(), parameters.data(),
                              first_.data(), second_.data());
  }

 private:
  AdamWOptions options_;
  size_t steps_ = 0;
  std::vector<T> first_, second_;
};

}  // namespace kvsplice::train
