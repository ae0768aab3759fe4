// Body of the kernel of products of bytes, compiled once per SIMD target.
#if defined(KVSPLICE_LINALG_BYTE_PRODUCT_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVSPLICE_LINALG_BYTE_PRODUCT_KERNEL_INL_H_
#undef KVSPLICE_LINALG_BYTE_PRODUCT_KERNEL_INL_H_
#else
#define KVSPLICE_LINALG_BYTE_PRODUCT_KERNEL_INL_H_
#endif

#include <hwy/highway.h>

#include <cmath>
#include <cstring>

#include "linalg/byte_product_kernel.h"
#include "simd/registers.h"

HWY_BEFORE_NAMESPACE();
namespace kvsplice::byte_product_kernel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Tag = hn::CappedTag<int32_t, kPanel>;
using FloatTag = hn::CappedTag<float, kPanel>;
using Vector = hn::Vec<Tag>;

// Sums of a tile stay in registers: rows times two vectors, and a few registers more.
#if KVSPLICE_HAS_32_REGISTERS
constexpr size_t kRows = kTall;
#else
constexpr size_t kRows = kTall / 2;
#endif

// Four weights and four bytes in each lane, and their products, added up in the lane. What of the
// weights can be done once for all rows is done by `Weights`, and what of a row's bytes once for
// all weights by `Bytes`.
#if HWY_TARGET == HWY_AVX3_DL

using Weights = Vector;
using Bytes = Vector;
HWY_INLINE Weights prepare_weights(Vector w) { return w; }
HWY_INLINE Bytes prepare_bytes(Vector a) { return a; }
HWY_INLINE Vector add_products(Vector sum, Weights w, Bytes a) {
  return Vector{_mm512_dpbusd_epi32(sum.raw, w.raw, a.raw)};
}

#else

// Bytes at even places and at odd ones, each a half of the lane's halves. Constructors that the
// compiler makes are not of the target: GCC for aarch64 refuses them.
struct Halves {
  HWY_INLINE Halves() {}
  HWY_INLINE Halves(Vector e, Vector o) : even(e), odd(o) {}
  Vector even, odd;
};
using Weights = Halves;
using Bytes = Halves;

#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128

HWY_INLINE hn::Vec128<int32_t> pairs(hn::Vec128<int32_t> a, hn::Vec128<int32_t> b) {
  return hn::Vec128<int32_t>{_mm_madd_epi16(a.raw, b.raw)};
}
#if HWY_TARGET <= HWY_AVX2
HWY_INLINE hn::Vec256<int32_t> pairs(hn::Vec256<int32_t> a, hn::Vec256<int32_t> b) {
  return hn::Vec256<int32_t>{_mm256_madd_epi16(a.raw, b.raw)};
}
#endif
#if HWY_TARGET <= HWY_AVX3
HWY_INLINE hn::Vec512<int32_t> pairs(hn::Vec512<int32_t> a, hn::Vec512<int32_t> b) {
  return hn::Vec512<int32_t>{_mm512_madd_epi16(a.raw, b.raw)};
}
#endif

#else

// Products of halves of lanes, added up in the lane.
HWY_INLINE Vector pairs(Vector a, Vector b) {
  const Vector low =
      hn::Mul(hn::ShiftRight<16>(hn::ShiftLeft<16>(a)), hn::ShiftRight<16>(hn::ShiftLeft<16>(b)));
  return hn::Add(low, hn::Mul(hn::ShiftRight<16>(a), hn::ShiftRight<16>(b)));
}

#endif

HWY_INLINE Weights prepare_weights(Vector w) {
  const Vector low = hn::Set(Tag(), 0x00FF00FF);
  return {hn::And(w, low), hn::And(hn::ShiftRight<8>(w), low)};
}

// Signs go to the upper byte of each half. The upper half of a lane takes its own, the lower one
// gets it by a shift to the left and back.
HWY_INLINE Vector extend(Vector at_low_bytes) {
  const Tag tag;
  const Vector low =
      hn::And(hn::ShiftRight<24>(hn::ShiftLeft<24>(at_low_bytes)), hn::Set(tag, 0xFFFF));
  const Vector high = hn::ShiftLeft<16>(hn::ShiftRight<24>(hn::ShiftLeft<8>(at_low_bytes)));
  return hn::Or(low, high);
}
HWY_INLINE Bytes prepare_bytes(Vector a) { return {extend(a), extend(hn::ShiftRight<8>(a))}; }

HWY_INLINE Vector add_products(Vector sum, const Weights& w, const Bytes& a) {
  return hn::Add(sum, hn::Add(pairs(w.even, a.even), pairs(w.odd, a.odd)));
}

#endif

// Where the weights of a tile's two vectors of columns begin, or of its one.
struct Columns {
  const uint8_t* weights[2];
  size_t first, count;  // of the product's columns
};

HWY_INLINE void store(Vector sum, const Product& p, size_t row, size_t first, size_t count) {
  const Tag tag;
  const FloatTag floats;
  const size_t lanes = hn::Lanes(tag);
  const Vector offset = hn::Set(tag, kOffset * p.row_sum[row]);
  const auto whole = hn::ConvertTo(floats, hn::Sub(sum, offset));
  float* c = p.c + row * p.c_step + first;
  const auto scale = hn::Set(floats, p.scale[row]);
  if (count >= lanes) {
    const auto made = hn::Mul(hn::Mul(whole, scale), hn::LoadU(floats, p.column_scale + first));
    return hn::StoreU(p.add ? hn::Add(hn::LoadU(floats, c), made) : made, floats, c);
  }
  HWY_ALIGN float made[kPanel];
  hn::Store(hn::Mul(whole, scale), floats, made);
  for (size_t i = 0; i < count; ++i) {
    const float own = made[i] * p.column_scale[first + i];
    c[i] = p.add ? c[i] + own : own;
  }
}

template <size_t kHigh, size_t kVectors>
HWY_NOINLINE void tile(const Product& p, size_t row, const Columns& columns) {
  const Tag tag;
  const size_t lanes = hn::Lanes(tag);
  Vector sums[kHigh][kVectors];
  HWY_UNROLL(12)
  for (size_t r = 0; r < kHigh; ++r) {
    HWY_UNROLL(2)
    for (size_t v = 0; v < kVectors; ++v) sums[r][v] = hn::Zero(tag);
  }
  const int8_t* a = p.a + row * p.a_step;
  const uint8_t* weights[kVectors];
  for (size_t v = 0; v < kVectors; ++v) weights[v] = columns.weights[v];
  for (size_t q = 0; q < p.quads; ++q) {
    Weights w[kVectors];
    HWY_UNROLL(2)
    for (size_t v = 0; v < kVectors; ++v) {
      w[v] = prepare_weights(hn::LoadU(tag, reinterpret_cast<const int32_t*>(weights[v])));
      weights[v] += kPanel * kQuad;
    }
    HWY_UNROLL(12)
    for (size_t r = 0; r < kHigh; ++r) {
      int32_t quad;
      std::memcpy(&quad, a + r * p.a_step, sizeof quad);
      const Bytes bytes = prepare_bytes(hn::Set(tag, quad));
      HWY_UNROLL(2)
      for (size_t v = 0; v < kVectors; ++v) sums[r][v] = add_products(sums[r][v], w[v], bytes);
    }
    a += kQuad;
  }
  HWY_UNROLL(12)
  for (size_t r = 0; r < kHigh; ++r) {
    HWY_UNROLL(2)
    for (size_t v = 0; v < kVectors; ++v) {
      const size_t before = v * lanes;
      if (before < columns.count) {
        store(sums[r][v], p, row + r, columns.first + before, columns.count - before);
      }
    }
  }
}

template <size_t kHigh, size_t kVectors>
HWY_INLINE void tile_of(size_t rows, const Product& p, size_t row, const Columns& columns) {
  if (rows == kHigh) return tile<kHigh, kVectors>(p, row, columns);
  if constexpr (kHigh > 1) tile_of<kHigh - 1, kVectors>(rows, p, row, columns);
}

// Weights of the vector of columns that begins at `first`.
HWY_INLINE const uint8_t* weights_at(const Product& p, size_t first) {
  return p.weights + first / kPanel * kPanel * p.quads * kQuad + first % kPanel * kQuad;
}

void multiply(const Product& p) {
  const size_t lanes = hn::Lanes(Tag());
  for (size_t first = 0; first < p.cols; first += 2 * lanes) {
    const bool two = p.cols - first > lanes;
    const Columns columns = {{weights_at(p, first), two ? weights_at(p, first + lanes) : nullptr},
                             first,
                             HWY_MIN(p.cols - first, 2 * lanes)};
    for (size_t row = 0; row < p.rows; row += kRows) {
      const size_t rows = HWY_MIN(kRows, p.rows - row);
      if (two) {
        tile_of<kRows, 2>(rows, p, row, columns);
      } else {
        tile_of<kRows, 1>(rows, p, row, columns);
      }
    }
  }
}

// The scaled values behind the last whole vector, and zeros.
HWY_INLINE hn::Vec<FloatTag> load_rest(const float* x, const float* factor, size_t n) {
  const FloatTag tag;
  HWY_ALIGN float rest[kPanel] = {};
  for (size_t i = 0; i < n; ++i) rest[i] = x[i] * factor[i];
  return hn::Load(tag, rest);
}

// `low` may be none.
HWY_INLINE float round_values(const float* x, const float* factor, size_t n, int8_t* high,
                              int8_t* low) {
  if (n == 0) return 0;
  const FloatTag tag;
  const hn::Rebind<int8_t, FloatTag> bytes;
  const size_t lanes = hn::Lanes(tag), whole = n / lanes * lanes;
  const auto scaled = [&](size_t i) HWY_ATTR {
    return hn::Mul(hn::LoadU(tag, x + i), hn::LoadU(tag, factor + i));
  };
  const auto rest = load_rest(x + whole, factor + whole, n - whole);
  auto most = hn::Abs(rest);
  for (size_t i = 0; i < whole; i += lanes) most = hn::Max(most, hn::Abs(scaled(i)));
  const float peak = hn::GetLane(hn::MaxOfLanes(tag, most));
  const float inverse = 127 / peak;
  if (!(peak < INFINITY) || !(inverse < INFINITY)) {
    std::memset(high, 0, n);
    if (low != nullptr) std::memset(low, 0, n);
    return 0;
  }
  const auto times = hn::Set(tag, inverse), steps = hn::Set(tag, kLowSteps);
  const auto put = [&](auto v, int8_t* own, int8_t* left) HWY_ATTR {
    const auto rounded = hn::NearestInt(v);
    hn::StoreU(hn::DemoteTo(bytes, rounded), bytes, own);
    if (left == nullptr) return;
    const auto more = hn::Mul(steps, hn::Sub(v, hn::ConvertTo(tag, rounded)));
    hn::StoreU(hn::DemoteTo(bytes, hn::NearestInt(more)), bytes, left);
  };
  for (size_t i = 0; i < whole; i += lanes) {
    put(hn::Mul(scaled(i), times), high + i, low == nullptr ? nullptr : low + i);
  }
  int8_t last[kPanel], last_low[kPanel];
  put(hn::Mul(rest, times), last, low == nullptr ? nullptr : last_low);
  std::memcpy(high + whole, last, n - whole);
  if (low != nullptr) std::memcpy(low + whole, last_low, n - whole);
  return peak / 127;
}

float round_row(const float* x, const float* factor, size_t n, int8_t* to) {
  return round_values(x, factor, n, to, nullptr);
}

float round_pair(const float* x, const float* factor, size_t n, int8_t* high, int8_t* low) {
  return round_values(x, factor, n, high, low);
}

}  // namespace kvsplice::byte_product_kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
