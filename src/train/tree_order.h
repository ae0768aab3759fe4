// Rows near a curve, put in order along it, whatever the way the curve bends: by their distances
// along the shortest tree that connects all rows.
#pragma once

#include <vector>

#include "core/matrix.h"

namespace kvsplice::train {

// Distance of every row from one end of the tree's longest path. rows: [n x d], n >= 1; takes n^2 d
// operations.
std::vector<double> tree_order(MatrixView<const float> rows);

}  // namespace kvsplice::train
