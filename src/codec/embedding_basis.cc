#include "codec/embedding_basis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "codec/checks.h"
#include "linalg/linalg.h"

namespace kvsplice::codec {

namespace {

constexpr float kLargest = 127;
constexpr float kUnit = 1024;  // keeps projections near the length of a row
const std::string kCodes = "codes";

}  // namespace

EmbeddingBasis::EmbeddingBasis(MatrixView<const double> directions)
    : directions_(directions.rows, directions.cols) {
  for (size_t i = 0; i < directions.rows; ++i) {
    double peak = 0;
    for (double v : directions.row(i)) peak = std::max(peak, std::abs(v));
    const double scale = peak > 0 ? kLargest / peak : 0;
    for (size_t j = 0; j < directions.cols; ++j) {
      directions_(i, j) = static_cast<float>(std::round(directions(i, j) * scale)) / kUnit;
    }
  }
}

Matrix<float> EmbeddingBasis::project(MatrixView<const float> embedded) const {
  Matrix<float> made(embedded.rows, count());
  gemm(Trans::no, Trans::yes, 1.f, embedded, directions_, 0.f, made);
  return made;
}

State EmbeddingBasis::save() const {
  if (directions_.empty()) return {};
  StateArray codes{{directions_.rows(), directions_.cols()}, {}, Storage::i8};
  for (float v : directions_.flat()) codes.values.push_back(v * kUnit);
  return {{kCodes, std::move(codes)}};
}

Result<EmbeddingBasis> EmbeddingBasis::load(const State& state, size_t count, size_t dim) {
  KVS_ASSIGN(const StateArray* codes, find_array(state, kCodes, {count, dim}));
  EmbeddingBasis loaded;
  loaded.directions_ = Matrix<float>(count, dim);
  for (size_t i = 0; i < codes->values.size(); ++i) {
    const float code = codes->values[i];
    if (!(std::abs(code) <= kLargest)) {
      return Error{ErrorKind::format, fmt::format("a direction of the embedding holds {}; legal: "
                                                  "-{} ... {}",
                                                  code, kLargest, kLargest)};
    }
    loaded.directions_.flat()[i] = code / kUnit;
  }
  return loaded;
}

}  // namespace kvsplice::codec
