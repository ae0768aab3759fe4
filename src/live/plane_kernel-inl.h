// Body of the kernels of bit planes, compiled once per SIMD target.
#if defined(KVSPLICE_LIVE_PLANE_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVSPLICE_LIVE_PLANE_KERNEL_INL_H_
#undef KVSPLICE_LIVE_PLANE_KERNEL_INL_H_
#else
#define KVSPLICE_LIVE_PLANE_KERNEL_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <cstring>

#include "live/plane_kernel.h"

HWY_BEFORE_NAMESPACE();
namespace kvsplice::plane_kernel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR

using reference::add_in_order;
using reference::add_rows;
using reference::ask_rows;
using reference::decode;
using reference::decode_by_column;
using reference::decode_by_token;
using reference::largest;
using reference::to_floats;
using reference::to_weights;

#else

using Codes = hn::CappedTag<uint8_t, kRows>;
using Code = hn::Vec<Codes>;
using Floats = hn::CappedTag<float, 16>;
using Float = hn::Vec<Floats>;

// Sixteen places of a table, at most, for each part of it that the upper bits choose.
HWY_INLINE Code look_up(Codes tag, const uint8_t* table, Code code, size_t width) {
  const auto part = [&](size_t i) HWY_ATTR {
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

// A column's planes of a block, and its table. One that is not there has no bits.
struct Column {
  const uint8_t *planes, *table;
  size_t width;
};

HWY_INLINE Code levels_at(Codes tag, const Column& column, size_t t) {
  Code code = hn::Zero(tag);
  for (size_t b = 0; b < column.width; ++b) {
    const auto bits = hn::LoadMaskBits(tag, column.planes + b * kPlane + t / 8);
    const auto weight = static_cast<uint8_t>(1u << (column.width - 1 - b));
    code = hn::Or(code, hn::IfThenElseZero(bits, hn::Set(tag, weight)));
  }
  return look_up(tag, column.table, code, column.width);
}

// Hands out columns, one behind the other, then those that are not there.
class Walk {
 public:
  Walk(const Columns& columns, const uint8_t* planes)
      : columns_(columns),
        planes_(planes),
        table_(reinterpret_cast<const uint8_t*>(columns.levels)) {}

  Column next() {
    static constexpr uint8_t kNone[kSmallTable] = {};
    if (at_ == columns_.count) return {kNone, kNone, 0};
    const size_t width = columns_.widths[at_++];
    const Column column = {planes_, table_, width};
    planes_ += width * kPlane;
    table_ += table_size(width);
    return column;
  }

 private:
  const Columns& columns_;
  const uint8_t *planes_, *table_;
  size_t at_ = 0;
};

void decode(const Columns& columns, const uint8_t* planes, int8_t* to) {
  const Codes tag;
  Walk walk(columns, planes);
  for (size_t c = 0; c < columns.count; ++c) {
    const Column column = walk.next();
    for (size_t t = 0; t < kRows; t += hn::Lanes(tag)) {
      hn::StoreU(levels_at(tag, column, t), tag, reinterpret_cast<uint8_t*>(to) + c * kRows + t);
    }
  }
}

// Of a vector's blocks of 16 bytes, block b to to + b * step.
HWY_INLINE void scatter(Codes tag, Code v, uint8_t* to, size_t step) {
  HWY_ALIGN uint8_t bytes[kRows];
  hn::Store(v, tag, bytes);
  for (size_t b = 0; b < hn::Lanes(tag) / 16; ++b) memcpy(to + b * step, bytes + 16 * b, 16);
}

// Four columns at a time: body(c, t, and levels of each for the tokens from t on, as weights).
template <class Body>
HWY_INLINE void for_quads(const Columns& columns, const uint8_t* planes, const Body& body) {
  const Codes tag;
  const Code zero = hn::Set(tag, kLevelZero);
  Walk walk(columns, planes);
  for (size_t c = 0; c < columns.count; c += 4) {
    const Column c0 = walk.next(), c1 = walk.next(), c2 = walk.next(), c3 = walk.next();
    for (size_t t = 0; t < kRows; t += hn::Lanes(tag)) {
      body(c, t, hn::Xor(levels_at(tag, c0, t), zero), hn::Xor(levels_at(tag, c1, t), zero),
           hn::Xor(levels_at(tag, c2, t), zero), hn::Xor(levels_at(tag, c3, t), zero));
    }
  }
}

// Blocks b of four vectors, side by side, to to + b * step.
HWY_INLINE void scatter_blocks(Codes tag, Code v0, Code v1, Code v2, Code v3, uint8_t* to,
                               size_t step) {
#if HWY_MAX_BYTES >= 64
  const Code a = hn::ConcatLowerLower(tag, v2, v0), b = hn::ConcatLowerLower(tag, v3, v1);
  const Code c = hn::ConcatUpperUpper(tag, v2, v0), d = hn::ConcatUpperUpper(tag, v3, v1);
  hn::StoreU(hn::OddEvenBlocks(hn::SwapAdjacentBlocks(b), a), tag, to);
  hn::StoreU(hn::OddEvenBlocks(b, hn::SwapAdjacentBlocks(a)), tag, to + step);
  hn::StoreU(hn::OddEvenBlocks(hn::SwapAdjacentBlocks(d), c), tag, to + 2 * step);
  hn::StoreU(hn::OddEvenBlocks(d, hn::SwapAdjacentBlocks(c)), tag, to + 3 * step);
#else
  scatter(tag, v0, to, step), scatter(tag, v1, to + 16, step);
  scatter(tag, v2, to + 32, step), scatter(tag, v3, to + 48, step);
#endif
}

void decode_by_token(const Columns& columns, const uint8_t* planes, uint8_t* to) {
  const Codes tag;
  const hn::RepartitionToWide<Codes> pairs;
  const size_t quads = (columns.count + 3) / 4;
  for_quads(columns, planes, [&](size_t c, size_t t, Code x0, Code x1, Code x2, Code x3) HWY_ATTR {
    const auto a = hn::BitCast(pairs, hn::InterleaveLower(tag, x0, x1));
    const auto b = hn::BitCast(pairs, hn::InterleaveLower(tag, x2, x3));
    const auto d = hn::BitCast(pairs, hn::InterleaveUpper(tag, x0, x1));
    const auto e = hn::BitCast(pairs, hn::InterleaveUpper(tag, x2, x3));
    scatter_blocks(tag, hn::BitCast(tag, hn::InterleaveLower(pairs, a, b)),
                   hn::BitCast(tag, hn::InterleaveUpper(pairs, a, b)),
                   hn::BitCast(tag, hn::InterleaveLower(pairs, d, e)),
                   hn::BitCast(tag, hn::InterleaveUpper(pairs, d, e)),
                   to + (t / 16 * quads + c / 4) * 64, quads * 64);
  });
}

void decode_by_column(const Columns& columns, const uint8_t* planes, uint8_t* to) {
  const Codes tag;
  const hn::Repartition<uint32_t, Codes> quads;
  const hn::Repartition<uint64_t, Codes> pairs;
  for_quads(columns, planes, [&](size_t c, size_t t, Code x0, Code x1, Code x2, Code x3) HWY_ATTR {
    const auto q0 = hn::BitCast(quads, x0), q1 = hn::BitCast(quads, x1);
    const auto q2 = hn::BitCast(quads, x2), q3 = hn::BitCast(quads, x3);
    const auto a = hn::BitCast(pairs, hn::InterleaveLower(quads, q0, q1));
    const auto b = hn::BitCast(pairs, hn::InterleaveLower(quads, q2, q3));
    const auto d = hn::BitCast(pairs, hn::InterleaveUpper(quads, q0, q1));
    const auto e = hn::BitCast(pairs, hn::InterleaveUpper(quads, q2, q3));
    uint8_t* place = to + (c / 16 * 16 + t / 4) * 64 + c % 16 * 4;
    scatter(tag, hn::BitCast(tag, hn::InterleaveLower(pairs, a, b)), place, 256);
    scatter(tag, hn::BitCast(tag, hn::InterleaveUpper(pairs, a, b)), place + 64, 256);
    scatter(tag, hn::BitCast(tag, hn::InterleaveLower(pairs, d, e)), place + 128, 256);
    scatter(tag, hn::BitCast(tag, hn::InterleaveUpper(pairs, d, e)), place + 192, 256);
  });
}

void add_in_order(const float* products, const float* others, const uint8_t* order, float more,
                  float* to) {
  const Floats tag;
  const hn::Rebind<int32_t, Floats> index_tag;
  const hn::Rebind<uint8_t, Floats> order_tag;
  for (size_t t = 0; t < kRows; t += hn::Lanes(tag)) {
    const auto index = hn::PromoteTo(index_tag, hn::LoadU(order_tag, order + t));
    const Float sum = hn::Add(hn::LoadU(tag, products + t), hn::GatherIndex(tag, others, index));
    hn::StoreU(hn::Add(sum, hn::Set(tag, more)), tag, to + t);
  }
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

// Of halves [i, i + lanes), of which only `n` may be read.
HWY_INLINE Float load_halves(const uint16_t* halves, size_t n) {
  const Floats tag;
  const hn::Rebind<hwy::float16_t, Floats> half_tag;
  const size_t lanes = hn::Lanes(tag);
  const auto* from = reinterpret_cast<const hwy::float16_t*>(halves);
  if (n >= lanes) return hn::PromoteTo(tag, hn::LoadU(half_tag, from));
  HWY_ALIGN hwy::float16_t rest[16] = {};
  memcpy(rest, halves, n * sizeof(uint16_t));
  return hn::PromoteTo(tag, hn::Load(half_tag, rest));
}

HWY_INLINE Float load_floats(const float* values, size_t n) {
  const Floats tag;
  if (n >= hn::Lanes(tag)) return hn::LoadU(tag, values);
  HWY_ALIGN float rest[16] = {};
  memcpy(rest, values, n * sizeof(float));
  return hn::Load(tag, rest);
}

HWY_INLINE void store_floats(Float v, float* to, size_t n) {
  const Floats tag;
  if (n >= hn::Lanes(tag)) return hn::StoreU(v, tag, to);
  HWY_ALIGN float rest[16];
  hn::Store(v, tag, rest);
  memcpy(to, rest, n * sizeof(float));
}

constexpr size_t kAsked = 4;  // rows of `a`, or of weights, that share what is read of rows

template <size_t kCount>
HWY_INLINE void ask_row(const HalfRows& rows, size_t t, const float* a, float* to) {
  const Floats tag;
  const size_t lanes = hn::Lanes(tag);
  Float sums[kCount];
  for (size_t i = 0; i < kCount; ++i) sums[i] = hn::Zero(tag);
  for (size_t c = 0; c < rows.dim; c += lanes) {
    const size_t left = rows.dim - c;
    const Float row = load_halves(rows.first + t * rows.step + c, left);
    for (size_t i = 0; i < kCount; ++i) {
      sums[i] = hn::MulAdd(row, load_floats(a + i * rows.dim + c, left), sums[i]);
    }
  }
  for (size_t i = 0; i < kCount; ++i) {
    to[i * rows.rows + t] = hn::GetLane(hn::SumOfLanes(tag, sums[i]));
  }
}

template <size_t kCount>
HWY_INLINE void add_vector(const HalfRows& rows, size_t c, const float* weights, float* to) {
  const Floats tag;
  const size_t left = rows.dim - c;
  Float sums[kCount];
  for (size_t i = 0; i < kCount; ++i) sums[i] = load_floats(to + i * rows.dim + c, left);
  for (size_t t = 0; t < rows.rows; ++t) {
    const Float row = load_halves(rows.first + t * rows.step + c, left);
    for (size_t i = 0; i < kCount; ++i) {
      sums[i] = hn::MulAdd(hn::Set(tag, weights[i * rows.rows + t]), row, sums[i]);
    }
  }
  for (size_t i = 0; i < kCount; ++i) store_floats(sums[i], to + i * rows.dim + c, left);
}

template <size_t kCount>
void ask_rows_of(const HalfRows& rows, const float* a, size_t count, float* to) {
  for (; count >= kCount; count -= kCount, a += kCount * rows.dim, to += kCount * rows.rows) {
    for (size_t t = 0; t < rows.rows; ++t) ask_row<kCount>(rows, t, a, to);
  }
  if constexpr (kCount > 1) ask_rows_of<kCount - 1>(rows, a, count, to);
}

template <size_t kCount>
void add_rows_of(const HalfRows& rows, const float* weights, size_t count, float* to) {
  const size_t lanes = hn::Lanes(Floats());
  for (; count >= kCount; count -= kCount, weights += kCount * rows.rows, to += kCount * rows.dim) {
    for (size_t c = 0; c < rows.dim; c += lanes) add_vector<kCount>(rows, c, weights, to);
  }
  if constexpr (kCount > 1) add_rows_of<kCount - 1>(rows, weights, count, to);
}

void ask_rows(const HalfRows& rows, const float* a, size_t count, float* to) {
  ask_rows_of<kAsked>(rows, a, count, to);
}

void add_rows(const HalfRows& rows, const float* weights, size_t count, float* to) {
  add_rows_of<kAsked>(rows, weights, count, to);
}

float largest(const float* values, size_t n) {
  const Floats tag;
  const size_t lanes = hn::Lanes(tag), whole = n / lanes * lanes;
  float most = values[0];
  if (whole > 0) {
    Float all = hn::LoadU(tag, values);
    for (size_t i = lanes; i < whole; i += lanes) all = hn::Max(all, hn::LoadU(tag, values + i));
    most = hn::GetLane(hn::MaxOfLanes(tag, all));
  }
  for (size_t i = whole; i < n; ++i) most = HWY_MAX(most, values[i]);
  return most;
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

#endif

}  // namespace kvsplice::plane_kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
