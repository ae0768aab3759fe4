#include "functions/least_squares.h"

#include "linalg/small.h"

namespace kvsplice::functions {

Result<Matrix<double>> least_squares(MatrixView<const float> features,
                                     MatrixView<const float> targets, double ridge) {
  Matrix<double> gram = column_products(features);
  double trace = 0;
  for (size_t i = 0; i < gram.rows(); ++i) trace += gram(i, i);
  for (size_t i = 0; i < gram.rows(); ++i) gram(i, i) += ridge * trace / double(gram.rows());
  return solve_spd_small(std::move(gram), column_products(features, targets));
}

}  // namespace kvsplice::functions
