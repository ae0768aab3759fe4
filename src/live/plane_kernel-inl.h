// Body of the kernels of bit planes, compiled once per SIMD target.
#if defined(KVSPLICE_LIVE_PLANE_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVSPLICE_LIVE_PLANE_KERNEL_INL_H_
#undef KVSPLICE_LIVE_PLANE_KERNEL_INL_H_
#else
#define KVSPLICE_LIVE_PLANE_KERNEL_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "live/plane_kernel.h"

HWY_BEFORE_NAMESPACE();
namespace kvsplice::plane_kernel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR

using reference::add_products;
using reference::add_scores;
using reference::add_sums;
using reference::decode;
using reference::to_floats;
using reference::to_weights;

#else

using Codes = hn::CappedTag<uint8_t, kRows>;
using Code = hn::Vec<Codes>;
using Floats = hn::CappedTag<float, 16>;
using Float = hn::Vec<Floats>;

// Sixteen places of a table, at most, for each part of it that the upper bits choose.
HWY_INLINE Code look_up(Codes tag, const uint8_t* table, Code code, size_t width) {
  const auto part = [&](size_t i) {
    return hn::TableLookupBytes(hn::LoadDup128(tag, table + 16 * i),
                                hn::And(code, hn::Set(tag, 15)));
  };
  if (width <= 4) return part(0);
  const auto upper = hn::TestBit(code, hn::Set(tag, 16));
  const Code low = hn::IfThenElse(upper, part(1), part(0));
  if (width == 5) return low;
  const Code high = hn::IfThenElse(upper, part(3), part(2));
  return hn::IfThenElse(hn::TestBit(code, hn::Set(tag, 32)), high, low);
}

void decode(const Columns& columns, const uint8_t* planes, int8_t* to) {
  const Codes tag;
  const size_t lanes = hn::Lanes(tag);
  auto* out = reinterpret_cast<uint8_t*>(to);
  const auto* tables = reinterpret_cast<const uint8_t*>(columns.levels);
  for (size_t c = 0; c < columns.count; ++c, out += kRows) {
    const size_t width = columns.widths[c];
    for (size_t t = 0; t < kRows; t += lanes) {
      Code code = hn::Zero(tag);
      for (size_t b = 0; b < width; ++b) {
        const auto bits = hn::LoadMaskBits(tag, planes + b * kPlane + t / 8);
        const auto weight = static_cast<uint8_t>(1u << (width - 1 - b));
        code = hn::Or(code, hn::IfThenElseZero(bits, hn::Set(tag, weight)));
      }
      hn::StoreU(look_up(tag, tables + c * kLevels, code, width), tag, out + t);
    }
    planes += width * kPlane;
  }
}

HWY_INLINE Float levels_at(Floats tag, const int8_t* levels) {
  const hn::Rebind<int8_t, Floats> bytes;
  const hn::RebindToSigned<Floats> integers;
  return hn::ConvertTo(tag, hn::PromoteTo(integers, hn::LoadU(bytes, levels)));
}

// Heads that share what is decoded, at most four at once; those that are not there repeat the last.
template <class Body>
HWY_INLINE void for_fours(size_t heads, const Body& body) {
  for (size_t h = 0; h < heads; h += 4) {
    body(h, HWY_MIN(1, heads - h - 1), HWY_MIN(2, heads - h - 1), HWY_MIN(3, heads - h - 1));
  }
}

// at(c, t): column c's values for tokens t ...
template <class At>
HWY_INLINE void add_any(const At& values_at, size_t count, RowsOf<const float> u, size_t heads,
                        RowsOf<float> scores) {
  const Floats tag;
  const size_t lanes = hn::Lanes(tag);
  for_fours(heads, [&](size_t h, size_t h1, size_t h2, size_t h3) {
    const float *u0 = u.row(h), *u1 = u.row(h + h1), *u2 = u.row(h + h2), *u3 = u.row(h + h3);
    for (size_t t = 0; t < kRows; t += lanes) {
      const auto at = [&](size_t i) { return scores.row(h + i) + t; };
      Float s0 = hn::LoadU(tag, at(0)), s1 = hn::LoadU(tag, at(h1));
      Float s2 = hn::LoadU(tag, at(h2)), s3 = hn::LoadU(tag, at(h3));
      for (size_t c = 0; c < count; ++c) {
        const Float x = values_at(c, t);
        s0 = hn::MulAdd(hn::Set(tag, u0[c]), x, s0), s1 = hn::MulAdd(hn::Set(tag, u1[c]), x, s1);
        s2 = hn::MulAdd(hn::Set(tag, u2[c]), x, s2), s3 = hn::MulAdd(hn::Set(tag, u3[c]), x, s3);
      }
      hn::StoreU(s0, tag, at(0)), hn::StoreU(s1, tag, at(h1));
      hn::StoreU(s2, tag, at(h2)), hn::StoreU(s3, tag, at(h3));
    }
  });
}

void add_scores(const int8_t* levels, size_t count, RowsOf<const float> u, size_t heads,
                RowsOf<float> scores) {
  const auto at = [=](size_t c, size_t t) { return levels_at(Floats(), levels + c * kRows + t); };
  add_any(at, count, u, heads, scores);
}

void add_products(const float* rows, size_t count, RowsOf<const float> u, size_t heads,
                  RowsOf<float> scores) {
  const auto at = [=](size_t c, size_t t) { return hn::LoadU(Floats(), rows + c * kRows + t); };
  add_any(at, count, u, heads, scores);
}

void to_floats(const uint16_t* halves, size_t n, float* to) {
  const Floats tag;
  const hn::Rebind<hwy::float16_t, Floats> half_tag;
  const size_t lanes = hn::Lanes(tag);
  const auto* from = reinterpret_cast<const hwy::float16_t*>(halves);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(hn::PromoteTo(tag, hn::LoadU(half_tag, from + i)), tag, to + i);
  }
  reference::to_floats(halves + i, n - i, to + i);
}

float to_weights(float* values, size_t n, float peak) {
  const Floats tag;
  const size_t lanes = hn::Lanes(tag);
  const Float most = hn::Set(tag, peak), least = hn::Set(tag, -104.0f);  // exp(-104) is 0
  Float sum = hn::Zero(tag);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const Float x = hn::Max(hn::Sub(hn::LoadU(tag, values + i), most), least);
    const Float weight = hn::Exp(tag, x);
    hn::StoreU(weight, tag, values + i);
    sum = hn::Add(sum, weight);
  }
  return hn::GetLane(hn::SumOfLanes(tag, sum)) + reference::to_weights(values + i, n - i, peak);
}

void add_sums(const int8_t* levels, size_t count, RowsOf<const float> weights, size_t heads,
              RowsOf<float> sums) {
  const Floats tag;
  const size_t lanes = hn::Lanes(tag);
  for_fours(heads, [&](size_t h, size_t h1, size_t h2, size_t h3) {
    const float *w0 = weights.row(h), *w1 = weights.row(h + h1);
    const float *w2 = weights.row(h + h2), *w3 = weights.row(h + h3);
    for (size_t c = 0; c < count; ++c) {
      Float s0 = hn::Zero(tag), s1 = s0, s2 = s0, s3 = s0;
      for (size_t t = 0; t < kRows; t += lanes) {
        const Float x = levels_at(tag, levels + c * kRows + t);
        s0 = hn::MulAdd(hn::LoadU(tag, w0 + t), x, s0),
        s1 = hn::MulAdd(hn::LoadU(tag, w1 + t), x, s1);
        s2 = hn::MulAdd(hn::LoadU(tag, w2 + t), x, s2),
        s3 = hn::MulAdd(hn::LoadU(tag, w3 + t), x, s3);
      }
      const auto added = [&](Float sum, size_t i) {
        return sums.row(h + i)[c] + hn::GetLane(hn::SumOfLanes(tag, sum));
      };
      const float a0 = added(s0, 0), a1 = added(s1, h1), a2 = added(s2, h2), a3 = added(s3, h3);
      sums.row(h)[c] = a0, sums.row(h + h1)[c] = a1;
      sums.row(h + h2)[c] = a2, sums.row(h + h3)[c] = a3;
    }
  });
}

#endif

}  // namespace kvsplice::plane_kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
