// Body of the quantiser with a dead zone, compiled once per SIMD target.
#if defined(KVSPLICE_CODEC_DEAD_ZONE_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVSPLICE_CODEC_DEAD_ZONE_KERNEL_INL_H_
#undef KVSPLICE_CODEC_DEAD_ZONE_KERNEL_INL_H_
#else
#define KVSPLICE_CODEC_DEAD_ZONE_KERNEL_INL_H_
#endif

#include <hwy/highway.h>

#include "codec/quantise/step/dead_zone_kernel.h"

HWY_BEFORE_NAMESPACE();
namespace kvsplice::codec::dead_zone_kernel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

bool quantise(const Row& row) {
  const hn::ScalableTag<float> tag;
  const hn::RebindToSigned<decltype(tag)> integers;
  const size_t lanes = hn::Lanes(tag), whole = row.count / lanes * lanes;
  const auto step = hn::Set(tag, row.step), offset = hn::Set(tag, row.offset);
  const auto most = hn::Set(tag, kMostSteps);
  const auto one = hn::Set(integers, 1);
  auto all_fit = hn::Eq(step, step);
  for (size_t c = 0; c < whole; c += lanes) {
    const auto value = hn::LoadU(tag, row.values + c);
    const auto magnitude = hn::Div(hn::Abs(value), step);
    const auto fits = hn::Lt(magnitude, most);
    all_fit = hn::And(all_fit, fits);
    const auto raised = hn::Add(hn::IfThenElseZero(fits, magnitude), offset);
    const auto rounded = hn::Max(hn::ConvertTo(integers, raised), one);
    const auto small = hn::RebindMask(integers, hn::Lt(magnitude, hn::LoadU(tag, row.least + c)));
    const auto code = hn::IfThenZeroElse(small, rounded);
    const auto negative = hn::RebindMask(integers, hn::Lt(value, hn::Zero(tag)));
    hn::StoreU(hn::IfThenElse(negative, hn::Neg(code), code), integers, row.codes + c);
  }
  const Row rest = {row.count - whole, row.step,           row.offset,
                    row.least + whole, row.values + whole, row.codes + whole};
  return reference::quantise(rest) && hn::AllTrue(tag, all_fit);
}

}  // namespace kvsplice::codec::dead_zone_kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
