// The directions in which embedding rows differ most, widest first: what units read in place of
// whole rows where rows are wide. All units of a codec share them.
#pragma once

#include "codec/stage.h"

namespace kvsplice::codec {

class EmbeddingBasis {
 public:
  EmbeddingBasis() = default;  // none
  // Of `directions` [count x dim], any length: rounded as they are stored.
  explicit EmbeddingBasis(MatrixView<const double> directions);

  size_t count() const { return directions_.rows(); }
  size_t dim() const { return directions_.cols(); }
  // embedded: [n x dim]; returns [n x count].
  Matrix<float> project(MatrixView<const float> embedded) const;

  State save() const;  // empty if there are none
  // Errors format: not `count` directions of `dim` values that project() can sum.
  static Result<EmbeddingBasis> load(const State& state, size_t count, size_t dim);

 private:
  Matrix<float> directions_;  // integers -127 ... 127, over kUnit
};

}  // namespace kvsplice::codec
