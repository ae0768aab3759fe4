// A clock that stands still until a test moves it.
#pragma once

#include "store/remote/patience.h"

namespace kvsplice::store {

class TestClock {
 public:
  void pass(Milliseconds time) { now_ += time; }
  TimePoint now() const { return now_; }
  Now source() {
    return [this] { return now_; };
  }

 private:
  TimePoint now_ = TimePoint() + std::chrono::hours(1);
};

}  // namespace kvsplice::store
