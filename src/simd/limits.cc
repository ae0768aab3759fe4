#include "simd/limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>

#include "core/aligned.h"
#include "core/threads.h"
#include "simd/limits_kernel.h"

namespace kvsplice {

namespace {

constexpr double kBudget = 0.2;  // seconds for each limit

// Seconds of the fastest call: whatever else the machine does can only slow it down.
double fastest(const std::function<void()>& body) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point t) {
    return std::chrono::duration<double>(Clock::now() - t).count();
  };
  const auto start = Clock::now();
  double best = 1e9;
  for (int run = 0; run < 3 || since(start) < kBudget; ++run) {
    const auto begun = Clock::now();
    body();
    best = std::min(best, since(begun));
  }
  return best;
}

constexpr size_t kChunk = size_t{1} << 20, kChunks = 64;  // 256 MiB: beyond the caches

// Of the fastest pass over all values; `body` gets one chunk of them.
double gb_per_s(AlignedVector<float>& values, const std::function<void(float*)>& body) {
  const double seconds =
      fastest([&] { parallel_for(kChunks, [&](size_t i) { body(&values[i * kChunk]); }); });
  return static_cast<double>(values.size() * sizeof(float)) / seconds / 1e9;
}

double fma_gflop_per_s() {
  constexpr size_t kRounds = 1 << 18;
  const size_t threads = static_cast<size_t>(thread_count());
  const size_t stride = (fma_values() + 31) / 32 * 32;
  AlignedVector<float> states(threads * stride, 1.0f);
  const double seconds = fastest([&] {
    parallel_for(threads,
                 [&](size_t i) { fma_rounds(kRounds, 0.999f, 0.001f, &states[i * stride]); });
  });
  return 2.0 * static_cast<double>(fma_values() * kRounds * threads) / seconds / 1e9;
}

}  // namespace

Limits measure_limits() {
  AlignedVector<float> values(kChunk * kChunks, 1.0f);
  std::atomic<float> sum = 0;  // keeps the reading from being left out
  const double read = gb_per_s(values, [&](float* x) { sum = sum_values(x, kChunk); });
  const double update = gb_per_s(values, [](float* x) { negate_values(x, kChunk); });
  return {read, update, fma_gflop_per_s()};
}

}  // namespace kvsplice
