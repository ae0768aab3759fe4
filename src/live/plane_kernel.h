// Kernels of attention over bit planes: plain pointers and sizes. The reference is what is defined,
// up to the order of sums.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "core/half.h"

namespace kvsplice::plane_kernel {

constexpr size_t kRows = 64;     // tokens whose bits of one weight stand together
constexpr size_t kLevels = 64;   // places of a column's table
constexpr size_t kPlane = 8;     // bytes of a plane
constexpr size_t kReadable = 8;  // bytes behind the last plane that may be read

// Of each column w planes, that of the highest bit first.
struct Columns {
  size_t count;
  const uint8_t* widths;  // w: 1 ... 6
  const int8_t* levels;   // [count x kLevels]
};

// The levels of 64 tokens: to [count x kRows].
void decode(const Columns& columns, const uint8_t* planes, int8_t* to);

// Rows of floats, `step` apart.
template <class T>
struct RowsOf {
  T* data;
  size_t step;
  T* row(size_t r) const { return data + r * step; }
};

// scores [heads x kRows] += u [heads x count] levels [count x kRows]
void add_scores(const int8_t* levels, size_t count, RowsOf<const float> u, size_t heads,
                RowsOf<float> scores);

// The same for rows that are no levels: scores [heads x kRows] += u [heads x count] rows [count x
// kRows]
void add_products(const float* rows, size_t count, RowsOf<const float> u, size_t heads,
                  RowsOf<float> scores);

// n halves, as IEEE has them.
void to_floats(const uint16_t* halves, size_t n, float* to);

// Of n values x: exp(x - peak) in their place, and the sum of these. peak is not less than any.
float to_weights(float* values, size_t n, float peak);

// sums [heads x count] += weights [heads x kRows] levels^T
void add_sums(const int8_t* levels, size_t count, RowsOf<const float> weights, size_t heads,
              RowsOf<float> sums);

namespace reference {

inline void decode(const Columns& columns, const uint8_t* planes, int8_t* to) {
  for (size_t c = 0; c < columns.count; ++c, to += kRows) {
    for (size_t t = 0; t < kRows; ++t) {
      size_t code = 0;
      for (size_t b = 0; b < columns.widths[c]; ++b) {
        code = 2 * code + (planes[b * kPlane + t / 8] >> t % 8 & 1);
      }
      to[t] = columns.levels[c * kLevels + code];
    }
    planes += columns.widths[c] * kPlane;
  }
}

template <class T>
void add_any(const T* rows, size_t count, RowsOf<const float> u, size_t heads,
             RowsOf<float> scores) {
  for (size_t h = 0; h < heads; ++h) {
    for (size_t c = 0; c < count; ++c) {
      for (size_t t = 0; t < kRows; ++t) {
        scores.row(h)[t] += u.row(h)[c] * float(rows[c * kRows + t]);
      }
    }
  }
}

inline void add_scores(const int8_t* levels, size_t count, RowsOf<const float> u, size_t heads,
                       RowsOf<float> scores) {
  add_any(levels, count, u, heads, scores);
}

inline void add_products(const float* rows, size_t count, RowsOf<const float> u, size_t heads,
                         RowsOf<float> scores) {
  add_any(rows, count, u, heads, scores);
}

inline void to_floats(const uint16_t* halves, size_t n, float* to) {
  for (size_t i = 0; i < n; ++i) to[i] = from_half(halves[i]);
}

inline float to_weights(float* values, size_t n, float peak) {
  float sum = 0;
  for (size_t i = 0; i < n; ++i) sum += values[i] = std::exp(values[i] - peak);
  return sum;
}

inline void add_sums(const int8_t* levels, size_t count, RowsOf<const float> weights, size_t heads,
                     RowsOf<float> sums) {
  for (size_t h = 0; h < heads; ++h) {
    for (size_t c = 0; c < count; ++c) {
      for (size_t t = 0; t < kRows; ++t) {
        sums.row(h)[c] += weights.row(h)[t] * float(levels[c * kRows + t]);
      }
    }
  }
}

}  // namespace reference

}  // namespace kvsplice::plane_kernel
