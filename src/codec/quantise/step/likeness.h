// What the rows of a group of tokens tell of each other, from how alike the tokens are in other
// units: a Gaussian process prior (Rasmussen and Williams, Gaussian Processes for Machine Learning,
// 2006, ch. 2), whose conditional means predict each row from the rows before it.
#pragma once

#include <vector>

#include "codec/stage.h"

namespace kvsplice::codec {

// Rows that are coded together, because they tell of each other: of consecutive positions, at most
// `most`.
struct Group {
  size_t first = 0, count = 0;
};
std::vector<Group> groups_of(std::span<const int32_t> positions, size_t most);

// Adds weight times the squared distances of rows [n x width] to the lower triangle of [n x n].
void add_squared_distances(MatrixView<const float> rows, float weight, MatrixView<float> squares);

struct Kernel {
  double width = 0.7;  // distance at which likeness is exp(-1/2)
  double noise = 0.3;  // variance of what rows do not share, over that of what they may
};

// `squares` [n x n]: squared distances of tokens, in the lower triangle. Returns the unit lower
// triangular matrix [n x n] that makes rows of their innovations: row t is expected to be the sum
// over j < t of mixing(t, j) times innovation j, and its own innovation is added to that. It is the
// Cholesky factor of the kernel matrix, its columns divided by their diagonal entries.
Result<Matrix<float>> mixing(Matrix<float> squares, const Kernel& kernel);

}  // namespace kvsplice::codec
