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
template <size_t kWidth>
HWY_INLINE Code look_up(Codes tag, const uint8_t* table, Code code) {
  const auto part = [&](size_t i) HWY_ATTR {
    return hn::TableLookupBytes(hn::LoadDup128(tag, table + 16 * i),
                                hn::And(code, hn::Set(tag, 15)));
  };
  if constexpr (kWidth <= 4) {
    return hn::TableLookupBytes(hn::LoadDup128(tag, table), code);
  } else {
    const auto upper = hn::TestBit(code, hn::Set(tag, 16));
    const Code low = hn::IfThenElse(upper, part(1), part(0));
    if constexpr (kWidth == 5) return low;
    const Code high = hn::IfThenElse(upper, part(3), part(2));
    return hn::IfThenElse(hn::TestBit(code, hn::Set(tag, 32)), high, low);
  }
}

// A column's planes of a block, and its table. One that is not there has no bits.
struct Column {
  const uint8_t *planes, *table;
  size_t width;
};

// Highway 1.0 has no masked addition.
HWY_INLINE Code add_where(Codes tag, hn::Mask<Codes> bits, Code code, uint8_t weight) {
#if HWY_TARGET <= HWY_AVX3
  (void)tag;
  return Code{_mm512_mask_add_epi8(code.raw, bits.raw, code.raw, _mm512_set1_epi8(char(weight)))};
#else
  return hn::Or(code, hn::IfThenElseZero(bits, hn::Set(tag, weight)));
#endif
}

template <size_t kWidth>
HWY_INLINE Code levels_of(Codes tag, const Column& column, size_t t) {
  Code code = hn::Zero(tag);
  HWY_UNROLL(6)
  for (size_t b = 0; b < kWidth; ++b) {
    const auto bits = hn::LoadMaskBits(tag, column.planes + b * kPlane + t / 8);
    code = add_where(tag, bits, code, static_cast<uint8_t>(1u << (kWidth - 1 - b)));
  }
  return look_up<kWidth>(tag, column.table, code);
}

// Columns of a width mostly stand together, so that processors foresee this branch, and would not
// foresee the end of a loop over bits.
HWY_INLINE Code levels_at(Codes tag, const Column& column, size_t t) {
  switch (column.width) {
    case 0:
      return levels_of<0>(tag, column, t);
    case 1:
      return levels_of<1>(tag, column, t);
    case 2:
      return levels_of<2>(tag, column, t);
    case 3:
      return levels_of<3>(tag, column, t);
    case 4:
      return levels_of<4>(tag, column, t);
    case 5:
      return levels_of<5>(tag, column, t);
    default:
      return levels_of<6>(tag, column, t);
  }
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

// Levels of four columns, as weights, for the tokens from t on.
struct Quad {
  Code x0, x1, x2, x3;
};

HWY_INLINE Quad quad_at(Codes tag, const Column (&columns)[4], size_t t) {
  const Code zero = hn::Set(tag, kLevelZero);
  return {
      hn::Xor(levels_at(tag, columns[0], t), zero), hn::Xor(levels_at(tag, columns[1], t), zero),
      hn::Xor(levels_at(tag, columns[2], t), zero), hn::Xor(levels_at(tag, columns[3], t), zero)};
}

// Within blocks of 16 bytes: lane i of all four vectors side by side, then lane i + 1. The first
// vector made begins with lane 0 of the blocks, each of the others where the one before it ends.
template <class Lanes, class Pairs>
HWY_INLINE Quad interleave(Codes tag, Lanes lanes, Pairs pairs, const Quad& q) {
  const auto x0 = hn::BitCast(lanes, q.x0), x1 = hn::BitCast(lanes, q.x1);
  const auto x2 = hn::BitCast(lanes, q.x2), x3 = hn::BitCast(lanes, q.x3);
  const auto a = hn::BitCast(pairs, hn::InterleaveLower(lanes, x0, x1));
  const auto b = hn::BitCast(pairs, hn::InterleaveLower(lanes, x2, x3));
  const auto d = hn::BitCast(pairs, hn::InterleaveUpper(lanes, x0, x1));
  const auto e = hn::BitCast(pairs, hn::InterleaveUpper(lanes, x2, x3));
  return {hn::BitCast(tag, hn::InterleaveLower(pairs, a, b)),
          hn::BitCast(tag, hn::InterleaveUpper(pairs, a, b)),
          hn::BitCast(tag, hn::InterleaveLower(pairs, d, e)),
          hn::BitCast(tag, hn::InterleaveUpper(pairs, d, e))};
}

void decode_by_token(const Columns& columns, const uint8_t* planes, uint8_t* to) {
  const Codes tag;
  const hn::RepartitionToWide<Codes> pairs;
  const size_t quads = (columns.count + 3) / 4, panel = quads * 64;
  Walk walk(columns, planes);
  for (size_t q = 0; q < quads; ++q, to += 64) {
    const Column four[4] = {walk.next(), walk.next(), walk.next(), walk.next()};
    for (size_t t = 0; t < kRows; t += hn::Lanes(tag)) {
      const Quad made = interleave(tag, tag, pairs, quad_at(tag, four, t));
      hn::StoreU(made.x0, tag, to + t);
      hn::StoreU(made.x1, tag, to + panel + t);
      hn::StoreU(made.x2, tag, to + 2 * panel + t);
      hn::StoreU(made.x3, tag, to + 3 * panel + t);
    }
  }
}

#if HWY_MAX_BYTES >= 64

// Blocks of 16 bytes of four vectors: block i of vector j becomes block j of vector i.
template <class D, class V>
HWY_INLINE void transpose_blocks(D tag, V& v0, V& v1, V& v2, V& v3) {
  const V a = hn::ConcatLowerLower(tag, v2, v0), b = hn::ConcatLowerLower(tag, v3, v1);
  const V c = hn::ConcatUpperUpper(tag, v2, v0), d = hn::ConcatUpperUpper(tag, v3, v1);
  v0 = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(b), a);
  v1 = hn::OddEvenBlocks(b, hn::SwapAdjacentBlocks(a));
  v2 = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(d), c);
  v3 = hn::OddEvenBlocks(d, hn::SwapAdjacentBlocks(c));
}

#endif

// Sixteen columns of all tokens: a vector has four columns of four tokens in each of its blocks.
HWY_INLINE void store_panel(Codes tag, const Quad (&quads)[4], size_t t, uint8_t* to) {
#if HWY_MAX_BYTES >= 64
  (void)t;
  const auto store = [&](Code v0, Code v1, Code v2, Code v3, uint8_t* first) HWY_ATTR {
    transpose_blocks(tag, v0, v1, v2, v3);
    hn::StoreU(v0, tag, first);
    hn::StoreU(v1, tag, first + 256);
    hn::StoreU(v2, tag, first + 512);
    hn::StoreU(v3, tag, first + 768);
  };
  store(quads[0].x0, quads[1].x0, quads[2].x0, quads[3].x0, to);
  store(quads[0].x1, quads[1].x1, quads[2].x1, quads[3].x1, to + 64);
  store(quads[0].x2, quads[1].x2, quads[2].x2, quads[3].x2, to + 128);
  store(quads[0].x3, quads[1].x3, quads[2].x3, quads[3].x3, to + 192);
#else
  HWY_ALIGN uint8_t bytes[kRows];
  const auto store = [&](Code v, uint8_t* first) HWY_ATTR {
    hn::Store(v, tag, bytes);
    for (size_t b = 0; b < hn::Lanes(tag) / 16; ++b) memcpy(first + 256 * b, bytes + 16 * b, 16);
  };
  for (size_t q = 0; q < 4; ++q) {
    uint8_t* first = to + t * 16 + q * 16;
    store(quads[q].x0, first), store(quads[q].x1, first + 64);
    store(quads[q].x2, first + 128), store(quads[q].x3, first + 192);
  }
#endif
}

void decode_by_column(const Columns& columns, const uint8_t* planes, uint8_t* to) {
  const Codes tag;
  const hn::Repartition<uint32_t, Codes> lanes;
  const hn::Repartition<uint64_t, Codes> pairs;
  Walk walk(columns, planes);
  for (size_t c = 0; c < columns.count; c += 16, to += 1024) {
    Column all[4][4];
    for (auto& four : all) {
      for (Column& column : four) column = walk.next();
    }
    for (size_t t = 0; t < kRows; t += hn::Lanes(tag)) {
      const Quad quads[4] = {interleave(tag, lanes, pairs, quad_at(tag, all[0], t)),
                             interleave(tag, lanes, pairs, quad_at(tag, all[1], t)),
                             interleave(tag, lanes, pairs, quad_at(tag, all[2], t)),
                             interleave(tag, lanes, pairs, quad_at(tag, all[3], t))};
      store_panel(tag, quads, t, to);
    }
  }
}

// Products of 64 tokens from their panels into order.
HWY_INLINE void in_order(const float* products, float* to) {
#if HWY_MAX_BYTES >= 64
  const Floats tag;
  Float v0 = hn::LoadU(tag, products), v1 = hn::LoadU(tag, products + 16);
  Float v2 = hn::LoadU(tag, products + 32), v3 = hn::LoadU(tag, products + 48);
  transpose_blocks(tag, v0, v1, v2, v3);
  hn::StoreU(v0, tag, to);
  hn::StoreU(v1, tag, to + 16);
  hn::StoreU(v2, tag, to + 32);
  hn::StoreU(v3, tag, to + 48);
#else
  for (size_t i = 0; i < 16; ++i) memcpy(to + 4 * i, products + i % 4 * 16 + i / 4 * 4, 16);
#endif
}

void add_in_order(const float* products, const float* others, const uint8_t* order, float more,
                  float* to) {
  const Floats tag;
  const hn::Rebind<int32_t, Floats> index_tag;
  const hn::Rebind<uint8_t, Floats> order_tag;
  HWY_ALIGN float own[kRows];
  in_order(products, own);
  for (size_t t = 0; t < kRows; t += hn::Lanes(tag)) {
    const auto index = hn::PromoteTo(index_tag, hn::LoadU(order_tag, order + t));
    const Float sum = hn::Add(hn::Load(tag, own + t), hn::GatherIndex(tag, others, index));
    hn::StoreU(hn::Add(sum, hn::Set(tag, more)), tag, to + t);
  }
}

// A vector, of which only n values may be read or written.
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

void to_floats(const uint16_t* halves, size_t n, float* to) {
  const size_t lanes = hn::Lanes(Floats());
  for (size_t i = 0; i < n; i += lanes) store_floats(load_halves(halves + i, n - i), to + i, n - i);
}

constexpr size_t kAsked = 4;  // rows of `a`, or of weights, that share what is read of rows

template <size_t kCount>
HWY_INLINE void ask_row(const HalfRows& rows, size_t t, const float* a, float* to) {
  const Floats tag;
  const size_t lanes = hn::Lanes(tag);
  Float sums[kCount];
  HWY_UNROLL(4)
  for (size_t i = 0; i < kCount; ++i) sums[i] = hn::Zero(tag);
  const auto add = [&](size_t c, size_t n) HWY_ATTR {
    const Float row = load_halves(rows.first + t * rows.step + c, n);
    HWY_UNROLL(4)
    for (size_t i = 0; i < kCount; ++i) {
      sums[i] = hn::MulAdd(row, load_floats(a + i * rows.dim + c, n), sums[i]);
    }
  };
  size_t c = 0;
  for (; c + lanes <= rows.dim; c += lanes) add(c, lanes);
  if (c < rows.dim) add(c, rows.dim - c);
  HWY_UNROLL(4)
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
