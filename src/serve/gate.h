// Whether restoring cells is worth its while, from what restoring and evaluating have cost so far
// on the machine at hand.
#pragma once

#include <algorithm>
#include <cstddef>
#include <mutex>
#include <optional>

namespace kvsplice::serve {

// Seconds a token, a running mean in which newer ones weigh more.
class Cost {
 public:
  void learn(size_t tokens, double seconds) {
    if (tokens == 0 || !(seconds > 0)) return;
    const double kept = known_ > 0 ? kKept : 0;
    known_ = kept * known_ + (1 - kept) * seconds / double(tokens);
  }
  double of(size_t tokens) const { return known_ * double(tokens); }
  bool known() const { return known_ > 0; }

 private:
  static constexpr double kKept = 0.8;
  double known_ = 0;
};

class Gate {
 public:
  static constexpr size_t kFewest = 32;  // tokens; of fewer most is fixed cost
  struct Rates {
    double evaluate = 0, restore = 0;  // tokens a second; 0: not known yet
  };

  // Of a prompt: tokens that were evaluated together. Few tell nothing, so much is fixed cost then.
  void evaluated(size_t tokens, double seconds) {
    if (tokens < kFewest) return;
    const std::lock_guard lock(mutex_);
    evaluate_.learn(tokens, seconds);
  }
  // Decoding and the server's part together.
  void restored(size_t tokens, double seconds) {
    const std::lock_guard lock(mutex_);
    restore_.learn(tokens, seconds);
  }
  // Whether to restore `tokens` of which the slot holds `there` already. What is not known yet is
  // tried.
  bool is_worth(size_t tokens, size_t there) const {
    if (tokens < there + kFewest) return false;
    const std::lock_guard lock(mutex_);
    if (!evaluate_.known() || !restore_.known()) return true;
    return restore_.of(tokens) < kLeastGain * evaluate_.of(tokens - there);
  }
  // How long to ask a remote for a prompt of which the slot holds `there`: a quarter of what it
  // would save at most. Nothing if even all of it would not be worth restoring.
  std::optional<double> seconds_for_remote(size_t tokens, size_t there) const {
    if (!is_worth(tokens, there)) return std::nullopt;
    const std::lock_guard lock(mutex_);
    if (!evaluate_.known()) return kUnknownRemote;
    return std::clamp(evaluate_.of(tokens - there) / 4, kLeastRemote, kMostRemote);
  }
  double seconds_to_evaluate(size_t tokens) const {
    const std::lock_guard lock(mutex_);
    return evaluate_.of(tokens);
  }
  Rates rates() const {
    const std::lock_guard lock(mutex_);
    const auto per_second = [](const Cost& cost) { return cost.known() ? 1 / cost.of(1) : 0; };
    return {per_second(evaluate_), per_second(restore_)};
  }

 private:
  static constexpr double kLeastGain = 0.8;
  static constexpr double kLeastRemote = 0.3, kUnknownRemote = 2, kMostRemote = 10;  // seconds
  mutable std::mutex mutex_;
  Cost evaluate_, restore_;
};

}  // namespace kvsplice::serve
