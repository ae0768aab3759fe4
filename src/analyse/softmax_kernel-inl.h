// Body of the softmax, compiled once per SIMD target.
#if defined(KVSPLICE_ANALYSE_SOFTMAX_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVSPLICE_ANALYSE_SOFTMAX_KERNEL_INL_H_
#undef KVSPLICE_ANALYSE_SOFTMAX_KERNEL_INL_H_
#else
#define KVSPLICE_ANALYSE_SOFTMAX_KERNEL_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "analyse/softmax_kernel.h"

HWY_BEFORE_NAMESPACE();
namespace kvsplice::softmax_kernel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Tag = hn::ScalableTag<float>;
using Vector = hn::Vec<Tag>;

constexpr size_t kBlock = 4096;  // exponentials summed in float, the sums in double

HWY_INLINE float largest(const float* x, size_t end, size_t n) {
  const Tag tag;
  Vector most = hn::Set(tag, x[0]);
  for (size_t i = 0; i < end; i += hn::Lanes(tag)) most = hn::Max(most, hn::LoadU(tag, x + i));
  float top = hn::GetLane(hn::MaxOfLanes(tag, most));
  for (size_t i = end; i < n; ++i) top = std::max(top, x[i]);
  return top;
}

void softmax(float* x, size_t n) {
  const Tag tag;
  const size_t end = n / hn::Lanes(tag) * hn::Lanes(tag);
  const float top = largest(x, end, n);
  const Vector shift = hn::Set(tag, top);
  double sum = 0;
  for (size_t first = 0; first < end; first += kBlock) {
    Vector part = hn::Zero(tag);
    for (size_t i = first; i < std::min(first + kBlock, end); i += hn::Lanes(tag)) {
      const Vector e = hn::Exp(tag, hn::Sub(hn::LoadU(tag, x + i), shift));
      part = hn::Add(part, e);
      hn::StoreU(e, tag, x + i);
    }
    sum += double(hn::GetLane(hn::SumOfLanes(tag, part)));
  }
  for (size_t i = end; i < n; ++i) sum += x[i] = std::exp(x[i] - top);
  const auto scale = static_cast<float>(1 / sum);
  for (size_t i = 0; i < end; i += hn::Lanes(tag)) {
    hn::StoreU(hn::Mul(hn::LoadU(tag, x + i), hn::Set(tag, scale)), tag, x + i);
  }
  for (size_t i = end; i < n; ++i) x[i] *= scale;
}

}  // namespace kvsplice::softmax_kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
