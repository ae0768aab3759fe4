// Bodies of the measured limits, compiled once per SIMD target (see limits_kernel.cc).
#if defined(KVSPLICE_SIMD_LIMITS_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVSPLICE_SIMD_LIMITS_KERNEL_INL_H_
#undef KVSPLICE_SIMD_LIMITS_KERNEL_INL_H_
#else
#define KVSPLICE_SIMD_LIMITS_KERNEL_INL_H_
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace kvsplice::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Eight chains of additions hide the latency of each.
HWY_NOINLINE float sum(const float* x, size_t n) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
  for (size_t i = 0; i < n; i += 8 * lanes) {
    s0 = hn::Add(s0, hn::Load(d, x + i));
    s1 = hn::Add(s1, hn::Load(d, x + i + lanes));
    s2 = hn::Add(s2, hn::Load(d, x + i + 2 * lanes));
    s3 = hn::Add(s3, hn::Load(d, x + i + 3 * lanes));
    s4 = hn::Add(s4, hn::Load(d, x + i + 4 * lanes));
    s5 = hn::Add(s5, hn::Load(d, x + i + 5 * lanes));
    s6 = hn::Add(s6, hn::Load(d, x + i + 6 * lanes));
    s7 = hn::Add(s7, hn::Load(d, x + i + 7 * lanes));
  }
  const auto half = hn::Add(hn::Add(s0, s1), hn::Add(s2, s3));
  const auto rest = hn::Add(hn::Add(s4, s5), hn::Add(s6, s7));
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(half, rest)));
}

HWY_NOINLINE void negate(float* x, size_t n) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  for (size_t i = 0; i < n; i += 4 * lanes) {
    hn::Store(hn::Neg(hn::Load(d, x + i)), d, x + i);
    hn::Store(hn::Neg(hn::Load(d, x + i + lanes)), d, x + i + lanes);
    hn::Store(hn::Neg(hn::Load(d, x + i + 2 * lanes)), d, x + i + 2 * lanes);
    hn::Store(hn::Neg(hn::Load(d, x + i + 3 * lanes)), d, x + i + 3 * lanes);
  }
}

// Ten chains: two units with a latency of four or five each want eight to ten in flight.
HWY_NOINLINE void chains(size_t rounds, float factor, float term, float* state) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const auto f = hn::Set(d, factor), t = hn::Set(d, term);
  const auto load = [&](size_t i) HWY_ATTR { return hn::Load(d, state + i * lanes); };
  auto v0 = load(0), v1 = load(1), v2 = load(2), v3 = load(3), v4 = load(4);
  auto v5 = load(5), v6 = load(6), v7 = load(7), v8 = load(8), v9 = load(9);
  for (size_t i = 0; i < rounds; ++i) {
    v0 = hn::MulAdd(v0, f, t), v1 = hn::MulAdd(v1, f, t), v2 = hn::MulAdd(v2, f, t);
    v3 = hn::MulAdd(v3, f, t), v4 = hn::MulAdd(v4, f, t), v5 = hn::MulAdd(v5, f, t);
    v6 = hn::MulAdd(v6, f, t), v7 = hn::MulAdd(v7, f, t), v8 = hn::MulAdd(v8, f, t);
    v9 = hn::MulAdd(v9, f, t);
  }
  const auto store = [&](auto v, size_t i) HWY_ATTR { hn::Store(v, d, state + i * lanes); };
  store(v0, 0), store(v1, 1), store(v2, 2), store(v3, 3), store(v4, 4);
  store(v5, 5), store(v6, 6), store(v7, 7), store(v8, 8), store(v9, 9);
}

HWY_NOINLINE size_t chain_values() { return 10 * hn::Lanes(hn::ScalableTag<float>()); }

HWY_NOINLINE const char* target_name() { return hwy::TargetName(HWY_TARGET); }

}  // namespace kvsplice::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
