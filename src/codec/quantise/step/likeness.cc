#include "codec/quantise/step/likeness.h"

#include <algorithm>
#include <cmath>

#include "core/threads.h"
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

Matrix<float> squared_distances(MatrixView<const float> rows, std::span<const Group> groups) {
  size_t most = 0;
  for (const Group& g : groups) most = std::max(most, g.count);
  Matrix<float> squares(rows.rows, most);
  parallel_for(groups.size(), [&](size_t i) {
    const Group& g = groups[i];
    const auto own = rows.row_range(g.first, g.count);
    const auto out = squares.view().row_range(g.first, g.count).col_range(0, g.count);
    gemm(Trans::no, Trans::yes, 1.f, own, own, 0.f, out);
    std::vector<float> norms(g.count);
    for (size_t t = 0; t < g.count; ++t) norms[t] = out(t, t);
    for (size_t t = 0; t < g.count; ++t) {
      for (size_t j = 0; j < t; ++j) {
        out(t, j) = std::max(0.f, norms[t] + norms[j] - 2 * out(t, j));
      }
      for (size_t j = t; j < g.count; ++j) out(t, j) = 0;
    }
  });
  return squares;
}

Result<Matrix<float>> mixing(MatrixView<const float> squares, const Kernel& kernel) {
  const size_t n = squares.rows;
  const auto scale = static_cast<float>(-1 / (2 * kernel.width * kernel.width));
  Matrix<double> likeness(n, n);
  for (size_t t = 0; t < n; ++t) {
    for (size_t j = 0; j < t; ++j) {
      likeness(t, j) = likeness(j, t) = std::exp(scale * squares(t, j));
    }
    likeness(t, t) = 1 + kernel.noise;
  }
  KVS_ASSIGN(const Matrix<double> factor, cholesky(std::move(likeness)));
  Matrix<float> mix(n, n);
  for (size_t t = 0; t < n; ++t) {
    for (size_t j = 0; j <= t; ++j) mix(t, j) = static_cast<float>(factor(t, j) / factor(j, j));
  }
  return mix;
}

}  // namespace kvsplice::codec
