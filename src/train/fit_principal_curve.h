// The principal curve of rows.
#pragma once

#include "core/progress.h"
#include "functions/principal_curve.h"
#include "kvsplice/result.h"

namespace kvsplice::train {

struct PrincipalCurveOptions {
  size_t knots = 64;
  size_t iterations = 10;  // of projection and regression
};

// Starts from the order of the rows along their spanning tree (tree_order.h); then, in turn, every
// row finds its nearest point, and the curve becomes the regression of the rows on their places.
// rows: [n x d], n >= 2.
Result<functions::PrincipalCurve> fit_principal_curve(MatrixView<const float> rows,
                                                      const PrincipalCurveOptions& options,
                                                      const Progress& progress = {});

}  // namespace kvsplice::train
