// Body of the kernels of attention over computed positions (see siren_attention_kernel.cc).
#if defined(KVSPLICE_TRAIN_SIREN_ATTENTION_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVSPLICE_TRAIN_SIREN_ATTENTION_KERNEL_INL_H_
#undef KVSPLICE_TRAIN_SIREN_ATTENTION_KERNEL_INL_H_
#else
#define KVSPLICE_TRAIN_SIREN_ATTENTION_KERNEL_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "train/siren_attention_kernel.h"

HWY_BEFORE_NAMESPACE();
namespace kvsplice::siren_kernel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Two vectors a row, as in siren_kernel-inl.h.
void sine_recurrence(const float* sine, const float* rise, const float* bend, size_t rows,
                     float* out) {
  const hn::ScalableTag<float> tag;
  const size_t n = hn::Lanes(tag);
  auto s0 = hn::Load(tag, sine), s1 = hn::Load(tag, sine + n);
  auto d0 = hn::Load(tag, rise), d1 = hn::Load(tag, rise + n);
  const auto b0 = hn::Load(tag, bend), b1 = hn::Load(tag, bend + n);
  for (size_t r = 0; r < rows; ++r, out += 2 * n) {
    hn::Store(s0, tag, out);
    hn::Store(s1, tag, out + n);
    d0 = hn::NegMulAdd(b0, s0, d0);
    d1 = hn::NegMulAdd(b1, s1, d1);
    s0 = hn::Add(s0, d0);
    s1 = hn::Add(s1, d1);
  }
}

void softmax_rows(float* scores, size_t rows, const float* bias, float* top, float* sum,
                  float* shrink) {
  const hn::ScalableTag<float> tag;
  const size_t n = hn::Lanes(tag);
  for (size_t j = 0; j < 2 * n; j += n) {
    const auto shift = hn::Load(tag, bias + j);
    const auto before = hn::Load(tag, top + j);
    auto most = before;
    for (size_t r = 0; r < rows; ++r) {
      most = hn::Max(most, hn::Add(hn::Load(tag, scores + r * 2 * n + j), shift));
    }
    const auto factor = hn::Exp(tag, hn::Sub(before, most));
    auto total = hn::Mul(factor, hn::Load(tag, sum + j));
    for (size_t r = 0; r < rows; ++r) {
      float* at = scores + r * 2 * n + j;
      const auto weight = hn::Exp(tag, hn::Sub(hn::Add(hn::Load(tag, at), shift), most));
      total = hn::Add(total, weight);
      hn::Store(weight, tag, at);
    }
    hn::Store(most, tag, top + j);
    hn::Store(total, tag, sum + j);
    hn::Store(factor, tag, shrink + j);
  }
}

void shrink_rows(const float* shrink, size_t rows, float* sums) {
  const hn::ScalableTag<float> tag;
  const size_t n = hn::Lanes(tag);
  const auto f0 = hn::Load(tag, shrink), f1 = hn::Load(tag, shrink + n);
  for (size_t r = 0; r < rows; ++r, sums += 2 * n) {
    hn::Store(hn::Mul(f0, hn::Load(tag, sums)), tag, sums);
    hn::Store(hn::Mul(f1, hn::Load(tag, sums + n)), tag, sums + n);
  }
}

}  // namespace kvsplice::siren_kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
