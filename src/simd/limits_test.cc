#include "simd/limits.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

#include "core/aligned.h"
#include "core/threads.h"
#include "simd/limits_kernel.h"

namespace kvsplice {
namespace {

// Runs `body` at every SIMD target of this machine.
void at_every_target(const std::function<void(const char*)>& body) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    body(simd_target_name());
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

// Whole numbers below 2^24 add up exactly in any order: a skipped value would show.
TEST(LimitsKernel, ReadsEveryValue) {
  at_every_target([](const char* target) {
    AlignedVector<float> x(4096);
    double sum = 0;
    for (size_t i = 0; i < x.size(); ++i) sum += x[i] = static_cast<float>((i * 7919) % 1021);
    EXPECT_EQ(sum_values(x.data(), x.size()), sum) << target;
    EXPECT_EQ(sum_values(x.data(), 0), 0) << target;
  });
}

TEST(LimitsKernel, NegatesEveryValue) {
  at_every_target([](const char* target) {
    AlignedVector<float> x(1024, 3.0f);
    negate_values(x.data(), 512);
    EXPECT_EQ(std::count(x.begin(), x.begin() + 512, -3.0f), 512) << target;
    EXPECT_EQ(std::count(x.begin() + 512, x.end(), 3.0f), 512) << target;
  });
}

// v -> f v + t has the closed form f^n v + t (1 - f^n) / (1 - f).
TEST(LimitsKernel, DoesEveryRound) {
  at_every_target([](const char* target) {
    for (const size_t rounds : {size_t{0}, size_t{1}, size_t{1000}}) {
      AlignedVector<float> state(fma_values());
      for (size_t i = 0; i < state.size(); ++i) state[i] = static_cast<float>(i);
      fma_rounds(rounds, 0.999f, 0.25f, state.data());
      const double f = 0.999f, power = std::pow(f, rounds);
      for (size_t i = 0; i < state.size(); ++i) {
        const double expected = power * double(i) + 0.25 * (1 - power) / (1 - f);
        EXPECT_NEAR(state[i], expected, 1e-3) << target << " value " << i;
      }
    }
  });
}

TEST(LimitsKernel, NamesTheTarget) {
  EXPECT_NE(std::string(simd_target_name()), "");
  EXPECT_NE(std::string(simd_target_name()), "?");
}

// Above the upper bounds no machine is, so work would have been skipped.
TEST(Limits, ArePlausible) {
  const Limits limits = measure_limits();
  EXPECT_GT(limits.read_gb_per_s, 0.05);
  EXPECT_LT(limits.read_gb_per_s, 2000);
  EXPECT_GT(limits.update_gb_per_s, 0.05);
  EXPECT_LT(limits.update_gb_per_s, 2000);
  const double lanes = static_cast<double>(fma_values()) / 10;
  EXPECT_GT(limits.fma_gflop_per_s, 0.05);
  EXPECT_LT(limits.fma_gflop_per_s, thread_count() * lanes * 2 * 2 * 10);  // two units at 10 GHz
}

}  // namespace
}  // namespace kvsplice
