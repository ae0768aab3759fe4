// Rows near a curve, put in order along it: distances from one end through a graph in which every
// row knows its nearest neighbours, whatever the way the curve bends.
#pragma once

#include <vector>

#include "kvsplice/matrix.h"

namespace kvsplice::train {

// Distance of every row from the far end of its graph; infinite for rows that are not connected
// with the largest part. rows: [n x d], n >= 1; takes n^2 d operations.
std::vector<double> geodesic_order(MatrixView<const float> rows, size_t neighbours);

}  // namespace kvsplice::train
