#include "train/quantile_knots.h"

#include <hwy/contrib/sort/vqsort.h>

#include "core/threads.h"

namespace kvsplice::train {

Matrix<float> quantile_knots(MatrixView<const float> rows, size_t knots) {
  constexpr size_t kColumns = 16;  // of a task: a cache line
  Matrix<float> out(knots, rows.cols);
  parallel_chunks(rows.cols, kColumns, [&](size_t first, size_t n) {
    const hwy::Sorter sort;
    Matrix<float> columns(n, rows.rows);
    for (size_t r = 0; r < rows.rows; ++r) {
      for (size_t c = 0; c < n; ++c) columns(c, r) = rows(r, first + c);
    }
    for (size_t c = 0; c < n; ++c) {
      sort(columns.row(c).data(), rows.rows, hwy::SortAscending());
      for (size_t k = 0; k < knots; ++k) {
        out(k, first + c) = columns(c, (rows.rows - 1) * k / (knots - 1));
      }
    }
  });
  return out;
}

}  // namespace kvsplice::train
