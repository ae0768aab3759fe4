// Kernels of attention over bit planes: plain pointers and sizes. The reference is what is defined,
// up to the order of sums.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "core/half.h"

namespace kvsplice::plane_kernel {

constexpr size_t kRows = 64;         // tokens whose bits of one weight stand together
constexpr size_t kPlane = 8;         // bytes of a plane
constexpr size_t kReadable = 8;      // bytes behind the last plane that may be read
constexpr size_t kSmallTable = 16;   // places that a column's table has at least
constexpr uint8_t kLevelZero = 128;  // a level of 0, as a weight of products of bytes

constexpr size_t table_size(size_t width) { return width <= 4 ? kSmallTable : size_t{1} << width; }

// Of each column w planes, that of the highest bit first, and a table of 2^w levels.
struct Columns {
  size_t count;
  const uint8_t* widths;  // w: 1 ... 6
  const int8_t* levels;   // table_size(w) places for each
};

// The levels of 64 tokens: to [count x kRows].
void decode(const Columns& columns, const uint8_t* planes, int8_t* to);

// The same as weights of linalg/byte_product_kernel.h, for products that add over columns ...
//   to  [4 panels of tokens][quads of columns][16 tokens][4 columns]
// where panel p has tokens 16 i + 4 p + k, k < 4, i < 4, ...
// ... and for those that add over tokens.
//   to  [panels of columns][16 quads of tokens][16 columns][4 tokens]
// Columns that are not there have levels of 0.
void decode_by_token(const Columns& columns, const uint8_t* planes, uint8_t* to);
void decode_by_column(const Columns& columns, const uint8_t* planes, uint8_t* to);

// to[t] = products[place of t in panels] + others[order[t]] + more, for 64 tokens.
void add_in_order(const float* products, const float* others, const uint8_t* order, float more,
                  float* to);

// n halves, as IEEE has them.
void to_floats(const uint16_t* halves, size_t n, float* to);

// Rows in half precision that begin `step` halves behind each other, and as many values of each.
struct HalfRows {
  const uint16_t* first;
  size_t rows, step, dim;
};
// to[i * rows + t] = a[i] . row t, of `count` rows a: [count x dim].
void ask_rows(const HalfRows& rows, const float* a, size_t count, float* to);
// to[i] += sum over t of weights[i * rows + t] row t; to: [count x dim].
void add_rows(const HalfRows& rows, const float* weights, size_t count, float* to);

// Of n values x: exp(x - peak) in their place, and the sum of these. peak is not less than any.
float to_weights(float* values, size_t n, float peak);
float largest(const float* values, size_t n);  // n > 0

namespace reference {

inline size_t place_in_panels(size_t token) {
  return token / 4 % 4 * 16 + token / 16 * 4 + token % 4;
}

// each(column, token, level)
template <class Each>
void for_levels(const Columns& columns, const uint8_t* planes, const Each& each) {
  const int8_t* table = columns.levels;
  for (size_t c = 0; c < columns.count; ++c) {
    const size_t width = columns.widths[c];
    for (size_t t = 0; t < kRows; ++t) {
      size_t code = 0;
      for (size_t b = 0; b < width; ++b) {
        code = 2 * code + (planes[b * kPlane + t / 8] >> t % 8 & 1);
      }
      each(c, t, table[code]);
    }
    planes += width * kPlane;
    table += table_size(width);
  }
}

inline void decode(const Columns& columns, const uint8_t* planes, int8_t* to) {
  for_levels(columns, planes, [&](size_t c, size_t t, int8_t v) { to[c * kRows + t] = v; });
}

inline void decode_by_token(const Columns& columns, const uint8_t* planes, uint8_t* to) {
  const size_t quads = (columns.count + 3) / 4;
  const auto at = [&](size_t c, size_t t) -> uint8_t& {
    const size_t place = place_in_panels(t);
    return to[((place / 16 * quads + c / 4) * 16 + place % 16) * 4 + c % 4];
  };
  for (size_t c = columns.count; c < 4 * quads; ++c) {
    for (size_t t = 0; t < kRows; ++t) at(c, t) = kLevelZero;
  }
  for_levels(columns, planes,
             [&](size_t c, size_t t, int8_t v) { at(c, t) = uint8_t(v + kLevelZero); });
}

inline void decode_by_column(const Columns& columns, const uint8_t* planes, uint8_t* to) {
  const auto at = [&](size_t c, size_t t) -> uint8_t& {
    return to[((c / 16 * 16 + t / 4) * 16 + c % 16) * 4 + t % 4];
  };
  for (size_t c = columns.count; c % 16 != 0; ++c) {
    for (size_t t = 0; t < kRows; ++t) at(c, t) = kLevelZero;
  }
  for_levels(columns, planes,
             [&](size_t c, size_t t, int8_t v) { at(c, t) = uint8_t(v + kLevelZero); });
}

inline void add_in_order(const float* products, const float* others, const uint8_t* order,
                         float more, float* to) {
  for (size_t t = 0; t < kRows; ++t) {
    to[t] = products[place_in_panels(t)] + others[order[t]] + more;
  }
}

inline void to_floats(const uint16_t* halves, size_t n, float* to) {
  for (size_t i = 0; i < n; ++i) to[i] = from_half(halves[i]);
}

inline void ask_rows(const HalfRows& rows, const float* a, size_t count, float* to) {
  for (size_t i = 0; i < count; ++i) {
    for (size_t t = 0; t < rows.rows; ++t) {
      float sum = 0;
      for (size_t c = 0; c < rows.dim; ++c) {
        sum += a[i * rows.dim + c] * from_half(rows.first[t * rows.step + c]);
      }
      to[i * rows.rows + t] = sum;
    }
  }
}

inline void add_rows(const HalfRows& rows, const float* weights, size_t count, float* to) {
  for (size_t i = 0; i < count; ++i) {
    for (size_t t = 0; t < rows.rows; ++t) {
      for (size_t c = 0; c < rows.dim; ++c) {
        to[i * rows.dim + c] +=
            weights[i * rows.rows + t] * from_half(rows.first[t * rows.step + c]);
      }
    }
  }
}

inline float largest(const float* values, size_t n) {
  return *std::max_element(values, values + n);
}

inline float to_weights(float* values, size_t n, float peak) {
  float sum = 0;
  for (size_t i = 0; i < n; ++i) sum += values[i] = std::exp(values[i] - peak);
  return sum;
}

}  // namespace reference

}  // namespace kvsplice::plane_kernel
