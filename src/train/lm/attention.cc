#include "train/lm/attention.h"

#include <algorithm>
#include <cmath>

#include "solve/solve.h"

namespace kvsplice::train::lm {

namespace {

// One head of one sequence.
template <class T>
struct Part {
  Part(const Heads& heads, size_t sequence, size_t head)
      : length(heads.length),
        first(sequence * heads.length),
        query(head * heads.dim),
        key(head / (heads.queries / heads.keys) * heads.dim),
        dim(heads.dim),
        weight((sequence * heads.queries + head) * heads.length) {}
  template <class V>
  V of_query(V m) const {
    return m.row_range(first, length).col_range(query, dim);
  }
  template <class V>
  V of_key(V m) const {
    return m.row_range(first, length).col_range(key, dim);
  }
  template <class V>
  V of_weights(V m) const {
    return m.row_range(weight, length);
  }
  size_t length, first, query, key, dim, weight;
};

template <class T, class Body>
void for_parts(const Heads& heads, size_t rows, const Body& body) {
  for (size_t s = 0; s < rows / heads.length; ++s) {
    for (size_t h = 0; h < heads.queries; ++h) body(Part<T>(heads, s, h));
  }
}

template <class T>
void causal_softmax(MatrixView<T> scores) {
  for (size_t r = 0; r < scores.rows; ++r) {
    T* row = &scores(r, 0);
    const T most = *std::max_element(row, row + r + 1);
    T sum = 0;
    for (size_t c = 0; c <= r; ++c) sum += row[c] = std::exp(row[c] - most);
    for (size_t c = 0; c <= r; ++c) row[c] /= sum;
    std::fill(row + r + 1, row + scores.cols, T(0));
  }
}

}  // namespace

template <class T>
Rotation<T>::Rotation(double base, size_t dim, size_t length)
    : cosine_(length, dim / 2), sine_(length, dim / 2) {
  for (size_t p = 0; p < length; ++p) {
    for (size_t i = 0; i < dim / 2; ++i) {
      const double angle = double(p) * std::pow(base, -2 * double(i) / double(dim));
      cosine_(p, i) = T(std::cos(angle));
      sine_(p, i) = T(std::sin(angle));
    }
  }
}

template <class T>
void Rotation<T>::turn(MatrixView<T> rows, T direction) const {
  const size_t pairs = cosine_.cols();
  for (size_t r = 0; r < rows.rows; ++r) {
    const T* cosine = cosine_.row(r % cosine_.rows()).data();
    const T* sine = sine_.row(r % sine_.rows()).data();
    for (size_t c = 0; c < rows.cols; c += 2 * pairs) {
      T* head = &rows(r, c);
      for (size_t i = 0; i < pairs; ++i) {
        const T x = head[2 * i], y = head[2 * i + 1], s = direction * sine[i];
        head[2 * i] = x * cosine[i] - y * s;
        head[2 * i + 1] = x * s + y * cosine[i];
      }
    }
  }
}

template <class T>
void attend(const Heads& heads, MatrixView<const T> q, MatrixView<const T> k, MatrixView<const T> v,
            MatrixView<T> weights, MatrixView<T> out) {
  const T scale = 1 / std::sqrt(T(heads.dim));
  for_parts<T>(heads, q.rows, [&](const Part<T>& part) {
    const auto w = part.of_weights(weights);
    gemm(Trans::no, Trans::yes, scale, part.of_query(q), part.of_key(k), T(0), w);
    causal_softmax(w);
    gemm(Trans::no, Trans::no, T(1), w, part.of_key(v), T(0), part.of_query(out));
  });
}

template <class T>
void attend_backward(const Heads& heads, MatrixView<const T> q, MatrixView<const T> k,
                     MatrixView<const T> v, MatrixView<const T> weights, MatrixView<const T> dout,
                     MatrixView<T> dq, MatrixView<T> dk, MatrixView<T> dv) {
  const T scale = 1 / std::sqrt(T(heads.dim));
  Matrix<T> d(heads.length, heads.length);
  for (size_t r = 0; r < dk.rows; ++r) {
    std::fill(dk.row(r).begin(), dk.row(r).end(), T(0));
    std::fill(dv.row(r).begin(), dv.row(r).end(), T(0));
  }
  for_parts<T>(heads, q.rows, [&](const Part<T>& part) {
    const auto w = part.of_weights(weights);
    const auto out = part.of_query(dout);
    gemm(Trans::no, Trans::yes, T(1), out, part.of_key(v), T(0), d);
    gemm(Trans::yes, Trans::no, T(1), w, out, T(1), part.of_key(dv));
    for (size_t r = 0; r < heads.length; ++r) {
      const T* weight = &w(r, 0);
      T along = 0, *row = d.row(r).data();
      for (size_t c = 0; c <= r; ++c) along += weight[c] * row[c];
      for (size_t c = 0; c <= r; ++c) row[c] = weight[c] * (row[c] - along);
      std::fill(row + r + 1, row + heads.length, T(0));
    }
    gemm(Trans::no, Trans::no, scale, d, part.of_key(k), T(0), part.of_query(dq));
    gemm(Trans::yes, Trans::no, scale, d, part.of_query(q), T(1), part.of_key(dk));
  });
}

#define KVSPLICE_INSTANTIATE(T)                                                                \
  template class Rotation<T>;                                                                  \
  template void attend(const Heads&, MatrixView<const T>, MatrixView<const T>,                 \
                       MatrixView<const T>, MatrixView<T>, MatrixView<T>);                     \
  template void attend_backward(const Heads&, MatrixView<const T>, MatrixView<const T>,        \
                                MatrixView<const T>, MatrixView<const T>, MatrixView<const T>, \
                                MatrixView<T>, MatrixView<T>, MatrixView<T>)
KVSPLICE_INSTANTIATE(float);
KVSPLICE_INSTANTIATE(double);
#undef KVSPLICE_INSTANTIATE

}  // namespace kvsplice::train::lm
