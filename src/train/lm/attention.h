// Causal attention over sequences of one length, and its reverse.
#pragma once

#include "core/matrix.h"

namespace kvsplice::train::lm {

struct Heads {
  size_t queries = 1, keys = 1;  // `queries` is a multiple of `keys`
  size_t dim = 0;                // of each, even
  size_t length = 0;             // tokens of a sequence
};

// Turns by positions 0, 1, ... of rotary embedding: pairs (2i, 2i + 1) of every head, whose angle
// is position * base^(-2i / dim).
template <class T>
class Rotation {
 public:
  Rotation(double base, size_t dim, size_t length);
  void turn(MatrixView<T> rows) const { turn(rows, T(1)); }
  void turn_back(MatrixView<T> rows) const { turn(rows, T(-1)); }

 private:
  void turn(MatrixView<T> rows, T direction) const;
  Matrix<T> cosine_, sine_;  // [length x dim / 2]
};

// q [n x queries * dim], k and v [n x keys * dim], n whole sequences. `weights`
// [n * queries x length] is what the reverse needs.
template <class T>
void attend(const Heads& heads, MatrixView<const T> q, MatrixView<const T> k, MatrixView<const T> v,
            MatrixView<T> weights, MatrixView<T> out);
template <class T>
void attend_backward(const Heads& heads, MatrixView<const T> q, MatrixView<const T> k,
                     MatrixView<const T> v, MatrixView<const T> weights, MatrixView<const T> dout,
                     MatrixView<T> dq, MatrixView<T> dk, MatrixView<T> dv);

}  // namespace kvsplice::train::lm
