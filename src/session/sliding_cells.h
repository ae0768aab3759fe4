// Generated cells of a model with sliding windows, for tests.
#pragma once

#include "session/generated_cells.h"

namespace kvsplice::session {

constexpr size_t kWindow = 50;

// Layers 0 and 2 slide.
inline ModelShape sliding_shape() {
  ModelShape shape = small_shape();
  shape.layers[0].window = shape.layers[2].window = kWindow;
  return shape;
}

// The first n cells of one sequence.
inline Cells first_cells(const ModelShape& shape, size_t n) {
  const Cells all = generate_cells(shape, 0, 400, 1);
  return convert<uint16_t>(all.view().slice(0, n), shape, Space::cached);
}

// As a context gives them: nothing that has left the window.
inline Cells cells_of_context(const ModelShape& shape, size_t n) {
  Cells cells = first_cells(shape, n);
  cells.absent = shape.tokens_out_of_sight(n);
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l : {0, 2}) {
      Matrix<uint16_t>& rows = cells.of(kind)[l];
      std::fill_n(rows.data(), cells.absent * rows.cols(), 0);
    }
  }
  return cells;
}

}  // namespace kvsplice::session
