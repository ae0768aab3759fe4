#include "codec/quantise/step/likeness.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "linalg/linalg.h"

namespace kvsplice::codec {

std::vector<Group> groups_of(std::span<const int32_t> positions, size_t most) {
  std::vector<Group> groups;
  for (size_t i = 0; i < positions.size(); ++i) {
    const bool goes_on = i > 0 && int64_t{positions[i]} == int64_t{positions[i - 1]} + 1 &&
                         groups.back().count < most;
    if (!goes_on) groups.push_back({i, 0});
    ++groups.back().count;
  }
  return groups;
}

namespace {

// Whether what rows have in common would take the digits that their distances need: distances are
// of the order of 1 when they are weighted.
bool have_much_in_common(MatrixView<const float> rows, float weight) {
  constexpr float kMuch = 256;
  float length = 0;
  for (size_t c = 0; c < rows.cols; ++c) length += rows(0, c) * rows(0, c);
  return weight * length > kMuch;
}

Matrix<float> about_the_first(MatrixView<const float> rows) {
  Matrix<float> about(rows.rows, rows.cols);
  for (size_t r = 0; r < rows.rows; ++r) {
    for (size_t c = 0; c < rows.cols; ++c) about(r, c) = rows(r, c) - rows(0, c);
  }
  return about;
}

}  // namespace

// Only rows before a row count: products are made in tiles along the diagonal.
void add_squared_distances(MatrixView<const float> from, float weight, MatrixView<float> squares) {
  constexpr size_t kTile = 64;
  if (from.rows == 0) return;
  Matrix<float> about;
  if (have_much_in_common(from, weight)) about = about_the_first(from);
  const MatrixView<const float> rows = about.rows() > 0 ? std::as_const(about).view() : from;
  std::vector<float> lengths(rows.rows);  // squared
  for (size_t first = 0; first < rows.rows; first += kTile) {
    const size_t end = std::min(first + kTile, rows.rows);
    Matrix<float> products(end - first, end);
    gemm(Trans::no, Trans::yes, 1.f, rows.row_range(first, end - first), rows.row_range(0, end),
         0.f, products);
    for (size_t t = first; t < end; ++t) lengths[t] = products(t - first, t);
    for (size_t t = first; t < end; ++t) {
      for (size_t j = 0; j < t; ++j) {
        const float square = lengths[t] + lengths[j] - 2 * products(t - first, j);
        squares(t, j) += weight * std::max(0.f, square);
      }
    }
  }
}

Result<Matrix<float>> mixing(Matrix<float> squares, const Kernel& kernel) {
  const size_t n = squares.rows();
  const auto scale = static_cast<float>(-1 / (2 * kernel.width * kernel.width));
  for (size_t t = 0; t < n; ++t) {
    for (size_t j = 0; j < t; ++j) squares(t, j) = std::exp(scale * squares(t, j));
    squares(t, t) = static_cast<float>(1 + kernel.noise);
  }
  KVS_ASSIGN(Matrix<float> mix, cholesky(std::move(squares)));
  std::vector<float> last(n);
  for (size_t t = 0; t < n; ++t) last[t] = 1 / mix(t, t);
  for (size_t t = 0; t < n; ++t) {
    for (size_t j = 0; j < t; ++j) mix(t, j) *= last[j];
    mix(t, t) = 1;
  }
  return mix;
}

}  // namespace kvsplice::codec
