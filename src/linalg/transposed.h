// A matrix with its rows as columns.
#pragma once

#include "core/matrix.h"

namespace kvsplice {

template <class From, class To = From>
Matrix<To> transposed(const Matrix<From>& a) {
  Matrix<To> t(a.cols(), a.rows());
  for (size_t i = 0; i < a.rows(); ++i) {
    for (size_t j = 0; j < a.cols(); ++j) t(j, i) = static_cast<To>(a(i, j));
  }
  return t;
}

}  // namespace kvsplice
