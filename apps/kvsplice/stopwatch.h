// Seconds since it was made.
#pragma once

#include <chrono>

namespace kvsplice::app {

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count();
  }

 private:
  std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
};

inline double rate(size_t n, double seconds) { return seconds > 0 ? double(n) / seconds : 0; }

}  // namespace kvsplice::app
