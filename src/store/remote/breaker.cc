#include "store/remote/breaker.h"

namespace kvsplice::store {

bool Breaker::allows() {
  const std::lock_guard lock(mutex_);
  if (state_ == State::closed) return true;
  const TimePoint now = now_();
  if (now < next_) return false;
  state_ = State::half_open;
  next_ = now + pause_;
  return true;
}

void Breaker::succeeded() {
  const std::lock_guard lock(mutex_);
  state_ = State::closed;
  failures_ = 0;
  pause_ = kFirst;
}

// Of calls that began before it opened the others do not count.
void Breaker::failed() {
  const std::lock_guard lock(mutex_);
  if (state_ == State::open) return;
  if (state_ == State::closed && ++failures_ < kFailures) return;
  if (state_ == State::half_open) pause_ = std::min(2 * pause_, kLongest);
  state_ = State::open;
  next_ = now_() + pause_;
}

Breaker::State Breaker::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

std::chrono::duration<double> Breaker::until_next() const {
  const std::lock_guard lock(mutex_);
  if (state_ == State::closed) return {};
  return std::max(next_ - now_(), TimePoint::duration::zero());
}

const char* name(Breaker::State state) {
  switch (state) {
    case Breaker::State::closed:
      return "closed";
    case Breaker::State::open:
      return "open";
    case Breaker::State::half_open:
      return "half-open";
  }
  return "unknown";
}

}  // namespace kvsplice::store
