#include "live/out_matrix.h"

#include <algorithm>
#include <cmath>

#include "linalg/transposed.h"

namespace kvsplice::live {

namespace {

Weights weights(const ByteMatrix& matrix) { return {matrix.panels(), matrix.scale().data()}; }

}  // namespace

OutMatrix::OutMatrix(Kind kind, const Matrix<float>& out, size_t dim)
    : kind_(kind), columns_(out.rows()) {
  Matrix<float> even = out;
  for (size_t c = 0; c < columns_ && kind == Kind::value; ++c) {
    float peak = 0;
    for (float v : out.row(c)) peak = std::max(peak, std::abs(v));
    factors_.push_back(peak);
    for (float& v : even.row(c)) v = peak > 0 ? v / peak : 0;
  }
  for (size_t first = 0; first < out.cols(); first += dim) {
    const Matrix<float> own = copy(even.view().col_range(first, dim));
    heads_.push_back(ByteMatrix::rounded(kind == Kind::key ? own : transposed(own)));
  }
}

size_t OutMatrix::bytes() const {
  size_t bytes = sizeof(float) * factors_.size();
  for (const ByteMatrix& head : heads_) bytes += head.bytes();
  return bytes;
}

Matrix<float> OutMatrix::floats() const {
  const bool keys = kind_ == Kind::key;
  const size_t dim = heads_.empty() ? 0 : keys ? heads_[0].cols() : heads_[0].rows();
  Matrix<float> made(columns_, heads_.size() * dim);
  for (size_t h = 0; h < heads_.size(); ++h) {
    const Matrix<float> own = heads_[h].floats();
    for (size_t c = 0; c < columns_; ++c) {
      for (size_t j = 0; j < dim; ++j) {
        made(c, h * dim + j) = keys ? own(c, j) : factors_[c] * own(j, c);
      }
    }
  }
  return made;
}

void OutMatrix::fold(size_t head, const RoundedRows& queries, size_t first, MatrixView<float> to,
                     std::vector<float>& scratch) const {
  queries.multiply(first, weights(heads_[head]), to, scratch);
}

void OutMatrix::unfold(size_t head, const RoundedRows& sums, size_t first, MatrixView<float> to,
                       std::vector<float>& scratch) const {
  sums.add_to(first, weights(heads_[head]), to, scratch);
}

RoundedRows OutMatrix::sums(const Matrix<float>& of_columns) const {
  RoundedRows rows(of_columns.rows(), columns_, 2);
  for (size_t r = 0; r < of_columns.rows(); ++r) rows.set(r, of_columns.row(r), factors_);
  return rows;
}

}  // namespace kvsplice::live
