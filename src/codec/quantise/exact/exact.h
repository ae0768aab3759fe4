// What the stage and its fit share.
#pragma once

#include <string>

#include "codec/quantise/exact/cell_predictor.h"

namespace kvsplice::codec::exact {

struct Params {
  int history = 1;
  double ridge = 1e-4;

  template <class V>
  void visit(V&& v) {
    v("history", history, "layers below whose keys and values are read", Range{0, 16});
    v("ridge", ridge, "added to the variances of what is read, relative to them", Range{1e-9, 1});
  }
};

// The units that cells are predicted from, and their names.
struct Inputs {
  std::vector<Side> sides;
  std::vector<std::string> names;
};
Inputs inputs_of(const Params& params, const CodeContext& context);

// Finite, and within half precision.
Result<> check_cells(const Matrix<float>& values);
// As many as rows, where columns turn.
Result<> check_positions(const Inputs& inputs, const Columns& own, size_t count,
                         const CodeContext& context);

// body(which of the pair, column, token), in the order the bits are stored in.
inline void for_cells(const Columns& columns, size_t pair, size_t n, const auto& body) {
  for (size_t t = 0; t < n; ++t) {
    body(size_t{0}, columns.pairs[pair].first, t);
    if (columns.pairs[pair].second != kNone) body(size_t{1}, columns.pairs[pair].second, t);
  }
}

// Places on the grid are found by shifting predictions to the right.
int least_grid(const CellPredictor& predictor, size_t pair);

}  // namespace kvsplice::codec::exact
