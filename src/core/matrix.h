// Dense row-major matrices and views of them. Rows are tokens wherever a matrix holds cache
// vectors.
#pragma once

#include <cassert>
#include <cstddef>
#include <span>
#include <type_traits>

#include "core/aligned.h"

namespace kvsplice {

// A view of `rows x cols` values; row r starts at data + r * stride.
template <class T>
struct MatrixView {
  T* data = nullptr;
  size_t rows = 0;
  size_t cols = 0;
  size_t stride = 0;

  MatrixView() = default;
  MatrixView(T* d, size_t r, size_t c) : MatrixView(d, r, c, c) {}
  MatrixView(T* d, size_t r, size_t c, size_t s) : data(d), rows(r), cols(c), stride(s) {}
  operator MatrixView<const T>() const requires(!std::is_const_v<T>) {
    return {data, rows, cols, stride};
  }

  T& operator()(size_t r, size_t c) const { return data[r * stride + c]; }
  std::span<T> row(size_t r) const { return {data + r * stride, cols}; }
  MatrixView row_range(size_t first, size_t n) const {
    assert(first + n <= rows);
    return {data + first * stride, n, cols, stride};
  }
  MatrixView col_range(size_t first, size_t n) const {
    assert(first + n <= cols);
    return {rows > 0 ? data + first : data, rows, n, stride};  // without rows there is no data
  }
};

template <class T>
class Matrix {
 public:
  Matrix() = default;
  // Throws as vectors do if there is no memory for it.
  Matrix(size_t rows, size_t cols) : rows_(rows), cols_(cols), values_(product(rows, cols)) {}

  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  size_t size() const { return values_.size(); }
  bool empty() const { return values_.empty(); }
  T* data() { return values_.data(); }
  const T* data() const { return values_.data(); }
  T& operator()(size_t r, size_t c) { return values_[r * cols_ + c]; }
  const T& operator()(size_t r, size_t c) const { return values_[r * cols_ + c]; }
  std::span<T> row(size_t r) { return {data() + r * cols_, cols_}; }
  std::span<const T> row(size_t r) const { return {data() + r * cols_, cols_}; }
  std::span<T> flat() { return values_; }
  std::span<const T> flat() const { return values_; }

  MatrixView<T> view() { return {data(), rows_, cols_}; }
  MatrixView<const T> view() const { return {data(), rows_, cols_}; }
  operator MatrixView<T>() { return view(); }
  operator MatrixView<const T>() const { return view(); }
  bool operator==(const Matrix&) const = default;

 private:
  static size_t product(size_t a, size_t b) {
    return b != 0 && a > ~size_t{0} / b ? ~size_t{0} : a * b;  // more than any vector holds
  }

  size_t rows_ = 0;
  size_t cols_ = 0;
  AlignedVector<T> values_;
};

template <class T>
Matrix<std::remove_const_t<T>> copy(MatrixView<T> v) {
  Matrix<std::remove_const_t<T>> m(v.rows, v.cols);
  for (size_t r = 0; r < v.rows; ++r) {
    for (size_t c = 0; c < v.cols; ++c) m(r, c) = v(r, c);
  }
  return m;
}

}  // namespace kvsplice
