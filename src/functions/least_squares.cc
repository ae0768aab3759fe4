#include "functions/least_squares.h"

#include "linalg/linalg.h"

namespace kvsplice::functions {

Result<Matrix<double>> least_squares(MatrixView<const float> features,
                                     MatrixView<const float> targets, double ridge) {
  Matrix<double> gram = scatter(features, {});
  double trace = 0;
  for (size_t i = 0; i < gram.rows(); ++i) trace += gram(i, i);
  for (size_t i = 0; i < gram.rows(); ++i) gram(i, i) += ridge * trace / double(gram.rows());
  return solve_spd(std::move(gram), cross_scatter(features, {}, targets, {}));
}

}  // namespace kvsplice::functions
