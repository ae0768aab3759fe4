// How long a call to a remote may take.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>

namespace kvsplice::store {

using TimePoint = std::chrono::steady_clock::time_point;
using Milliseconds = std::chrono::milliseconds;
using Now = std::function<TimePoint()>;  // a clock, which tests set

inline TimePoint steady_now() { return std::chrono::steady_clock::now(); }

// It ends at a time; or sooner, if for `stall` nothing comes or goes, or if what comes would not be
// complete by that time. So somebody who is too slow is left after `stall`, not at the end.
class Patience {
 public:
  explicit Patience(TimePoint until, Milliseconds stall = kStall, Now now = steady_now)
      : now_(std::move(now)), begun_(now_()), last_(begun_), until_(until), stall_(stall) {}

  // Bytes that are to come in all, as far as they are known.
  void expect(uint64_t bytes) { expected_ = bytes; }
  void got(uint64_t bytes) {
    got_ += bytes;
    last_ = now_();
  }
  // What passed since something came was the time of whoever asks, not of the other side.
  void resume() {
    const TimePoint now = now_();
    begun_ += now - last_;
    last_ = now;
  }
  // Until when to wait before asking again, at most a moment; 0: it has ended.
  Milliseconds left() const {
    constexpr Milliseconds kMoment{50};
    const TimePoint now = now_(), end = std::min(until_, last_ + stall_);
    if (now >= end || is_too_slow(now)) return Milliseconds(0);
    const auto left = std::chrono::duration_cast<Milliseconds>(end - now) + Milliseconds(1);
    return std::min(left, kMoment);
  }
  bool has_ended() const { return left() == Milliseconds(0); }

  static constexpr Milliseconds kStall{200};

 private:
  bool is_too_slow(TimePoint now) const {
    const std::chrono::duration<double> spent = now - begun_, whole = until_ - begun_;
    return now >= begun_ + stall_ &&
           double(got_) * whole.count() < double(expected_) * spent.count();
  }

  Now now_;
  TimePoint begun_, last_, until_;
  Milliseconds stall_;
  uint64_t expected_ = 0, got_ = 0;
};

}  // namespace kvsplice::store
