// The rotation of a head by one position.
#pragma once

#include <vector>

#include "core/matrix.h"
#include "core/shape.h"

namespace kvsplice::live {

class Turn {
 public:
  // Of a head of `dim` columns; the rope's magnitude is left out.
  Turn(const Rope& rope, size_t dim, size_t position);

  void apply(std::span<const float> head, std::span<float> out) const { turn(head, out, 1); }
  void undo(std::span<const float> head, std::span<float> out) const { turn(head, out, -1); }
  // The same for many heads, which are columns: [dim x n].
  void apply(MatrixView<const float> heads, MatrixView<float> out) const;

 private:
  // y = cosine x + sine x of the partner.
  struct Column {
    float cosine = 1, sine = 0;
    size_t partner = 0;
  };
  void turn(std::span<const float> head, std::span<float> out, float direction) const;

  std::vector<Column> columns_;
};

}  // namespace kvsplice::live
