#include "linalg/linalg.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/threads.h"
#include "linalg/product_kernel.h"

namespace kvsplice {

namespace {

using product_kernel::Operand;
using product_kernel::Product;

Operand operand(Trans t, MatrixView<const float> m) {
  return t == Trans::no ? Operand{m.data, m.stride, 1} : Operand{m.data, 1, m.stride};
}

size_t round_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

Product rows_of(const Product& whole, size_t first, size_t n) {
  Product part = whole;
  part.rows = n;
  part.a.data += first * whole.a.down;
  part.c += first * whole.c_step;
  part.reach += first;
  return part;
}

Product cols_of(const Product& whole, size_t first, size_t n) {
  Product part = whole;
  part.cols = n;
  part.b.data += first * whole.b.right;
  part.c += first;
  return part;
}

// So many rows of a stay in cache for all columns of b.
void multiply_here(const Product& whole) {
  constexpr size_t kMostRows = 512;
  const size_t pieces = (whole.rows + kMostRows - 1) / kMostRows;
  const size_t chunk = round_up((whole.rows + pieces - 1) / pieces, product_kernel::kTall);
  for (size_t first = 0; first < whole.rows; first += chunk) {
    product_kernel::multiply(rows_of(whole, first, std::min(chunk, whole.rows - first)));
  }
}

// Threads get pieces of any size: values do not depend on them.
void multiply(const Product& whole) {
  constexpr size_t kWorthAThread = size_t{1} << 21;  // multiply-adds: some tens of microseconds
  if (whole.rows == 0 || whole.cols == 0) return;
  const size_t work = whole.rows * whole.cols * whole.inner / kWorthAThread;
  const size_t threads = std::clamp<size_t>(work, 1, static_cast<size_t>(thread_count()));
  if (threads == 1) return multiply_here(whole);
  const bool by_rows = whole.rows >= whole.cols;
  const size_t share = ((by_rows ? whole.rows : whole.cols) + threads - 1) / threads;
  if (by_rows) {
    parallel_chunks(whole.rows, round_up(share, product_kernel::kTall),
                    [&](size_t i, size_t n) { multiply_here(rows_of(whole, i, n)); });
  } else {
    parallel_chunks(whole.cols, round_up(share, product_kernel::kWide),
                    [&](size_t i, size_t n) { multiply_here(cols_of(whole, i, n)); });
  }
}

}  // namespace

void gemm(Trans ta, Trans tb, float alpha, MatrixView<const float> a, MatrixView<const float> b,
          float beta, MatrixView<float> c) {
  assert((ta == Trans::no ? a.rows : a.cols) == c.rows);
  assert((tb == Trans::no ? b.cols : b.rows) == c.cols);
  assert((tb == Trans::no ? b.rows : b.cols) == (ta == Trans::no ? a.cols : a.rows));
  multiply({.rows = c.rows,
            .inner = ta == Trans::no ? a.cols : a.rows,
            .cols = c.cols,
            .alpha = alpha,
            .a = operand(ta, a),
            .b = operand(tb, b),
            .beta = beta,
            .c = c.data,
            .c_step = c.stride});
}

void multiply_lower(MatrixView<const float> l, MatrixView<const float> b, MatrixView<float> c) {
  assert(l.rows == l.cols && l.cols == b.rows && c.rows == l.rows && c.cols == b.cols);
  multiply({.rows = c.rows,
            .inner = l.cols,
            .cols = c.cols,
            .alpha = 1,
            .a = operand(Trans::no, l),
            .b = operand(Trans::no, b),
            .beta = 0,
            .c = c.data,
            .c_step = c.stride,
            .reach = 1});
}

size_t columns_in_use(MatrixView<const float> x) {
  size_t used = 0;
  for (size_t r = 0; r < x.rows && used < x.cols; ++r) {
    size_t c = x.cols;
    while (c > used && x(r, c - 1) == 0) --c;
    used = c;
  }
  return used;
}

std::vector<double> column_means(MatrixView<const float> x) {
  constexpr size_t kChunk = 1024;
  const size_t chunks = (x.rows + kChunk - 1) / kChunk;
  Matrix<double> sums(chunks, x.cols);
  parallel_chunks(x.rows, kChunk, [&](size_t first, size_t n) {
    double* sum = sums.row(first / kChunk).data();
    for (size_t r = first; r < first + n; ++r) {
      const float* row = &x(r, 0);
      for (size_t c = 0; c < x.cols; ++c) sum[c] += row[c];
    }
  });
  std::vector<double> means(x.cols);
  for (size_t i = 0; i < chunks; ++i) {
    for (size_t c = 0; c < x.cols; ++c) means[c] += sums(i, c);
  }
  for (double& m : means) m /= static_cast<double>(std::max<size_t>(x.rows, 1));
  return means;
}

double rms_about_mean(MatrixView<const float> x) {
  constexpr size_t kChunk = 1024;
  const std::vector<double> mean = column_means(x);
  std::vector<double> sums((x.rows + kChunk - 1) / kChunk);
  parallel_chunks(x.rows, kChunk, [&](size_t first, size_t n) {
    double sum = 0;
    for (size_t r = first; r < first + n; ++r) {
      for (size_t c = 0; c < x.cols; ++c) sum += (x(r, c) - mean[c]) * (x(r, c) - mean[c]);
    }
    sums[first / kChunk] = sum;
  });
  const double sum = std::accumulate(sums.begin(), sums.end(), 0.0);
  return std::sqrt(sum / static_cast<double>(std::max<size_t>(x.rows * x.cols, 1)));
}

}  // namespace kvsplice
