// Times of work.
#pragma once

#include <chrono>
#include <cstddef>

namespace kvsplice {

// Seconds since it was made.
class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - begun_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point begun_ = Clock::now();
};

// Adds the seconds of its scope.
class AddTime {
 public:
  explicit AddTime(double& sum) : sum_(sum) {}
  ~AddTime() { sum_ += watch_.seconds(); }
  AddTime(const AddTime&) = delete;
  AddTime& operator=(const AddTime&) = delete;

 private:
  double& sum_;
  Stopwatch watch_;
};

// Things a second.
inline double rate(size_t n, double seconds) { return seconds > 0 ? double(n) / seconds : 0; }

}  // namespace kvsplice
