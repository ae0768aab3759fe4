// Keeps calls from a remote that fails: after three failures in a row nobody asks it for ten
// seconds, then one may try. If that fails, too, the time doubles, up to five minutes.
#pragma once

#include <mutex>

#include "store/remote/patience.h"

namespace kvsplice::store {

class Breaker {
 public:
  enum class State { closed, open, half_open };  // half-open: somebody tries

  explicit Breaker(Now now = steady_now) : now_(std::move(now)) {}

  // Whether to ask. Who may must say how it went; if he does not, another may try later.
  bool allows();
  void succeeded();
  void failed();

  State state() const;
  std::chrono::duration<double> until_next() const;  // 0 while it is closed

 private:
  static constexpr int kFailures = 3;
  static constexpr std::chrono::seconds kFirst{10}, kLongest{300};

  Now now_;
  mutable std::mutex mutex_;
  State state_ = State::closed;
  int failures_ = 0;
  std::chrono::seconds pause_ = kFirst;
  TimePoint next_;  // when somebody may try
};

const char* name(Breaker::State state);

}  // namespace kvsplice::store
