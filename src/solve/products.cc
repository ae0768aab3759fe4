#include <cblas.h>

#include <algorithm>

#include "core/threads.h"
#include "solve/one_blas_thread.h"
#include "solve/solve.h"

namespace kvsplice {

namespace {

CBLAS_TRANSPOSE blas(Trans t) { return t == Trans::no ? CblasNoTrans : CblasTrans; }

// BLAS wants a stride of at least one, even of an empty matrix.
template <class T>
blasint stride(MatrixView<T> m) {
  return static_cast<blasint>(std::max<size_t>(m.stride, 1));
}

void blas_gemm(Trans ta, Trans tb, size_t inner, float alpha, MatrixView<const float> a,
               MatrixView<const float> b, float beta, MatrixView<float> c) {
  cblas_sgemm(CblasRowMajor, blas(ta), blas(tb), c.rows, c.cols, inner, alpha, a.data, stride(a),
              b.data, stride(b), beta, c.data, stride(c));
}

void blas_gemm(Trans ta, Trans tb, size_t inner, double alpha, MatrixView<const double> a,
               MatrixView<const double> b, double beta, MatrixView<double> c) {
  cblas_dgemm(CblasRowMajor, blas(ta), blas(tb), c.rows, c.cols, inner, alpha, a.data, stride(a),
              b.data, stride(b), beta, c.data, stride(c));
}

void blas_syrk(MatrixView<const float> x, float beta, MatrixView<float> c) {
  cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, c.cols, x.rows, 1, x.data, stride(x), beta,
              c.data, stride(c));
}

void blas_syrk(MatrixView<const double> x, double beta, MatrixView<double> c) {
  cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, c.cols, x.rows, 1, x.data, stride(x), beta,
              c.data, stride(c));
}

// How a sum over rows is cut for threads, by its shape alone: narrow results are summed over four
// ranges of rows at a time, wide ones strip of columns by strip (more copies would take too much).
struct Cut {
  size_t strip, strips, lane, lanes;

  Cut(size_t rows, size_t cols, size_t result) {
    constexpr size_t kStrip = 512, kLanes = 4, kNarrow = size_t{1} << 20;
    const bool narrow = result <= kNarrow;
    strip = std::max<size_t>(narrow ? cols : kStrip, 1);
    strips = (cols + strip - 1) / strip;
    lanes = narrow ? kLanes : 1;
    lane = (rows + lanes - 1) / lanes;
  }
};

// `mean` in the precision of the sums; zeros if it is empty.
template <class T>
std::vector<T> centre_of(std::span<const double> mean, size_t first, size_t n) {
  if (mean.empty()) return std::vector<T>(n);
  return {mean.begin() + first, mean.begin() + first + n};
}

template <class T>
void centre(MatrixView<const float> x, const std::vector<T>& middle, MatrixView<T> block) {
  for (size_t r = 0; r < x.rows; ++r) {
    const float* from = &x(r, 0);
    T* to = &block(r, 0);
    for (size_t c = 0; c < x.cols; ++c) to[c] = static_cast<T>(from[c]) - middle[c];
  }
}

// sum = beta * sum + block^T block: of its first `sum.rows` columns (upper triangle) with all.
template <class T>
void add_products(MatrixView<const T> block, T beta, MatrixView<T> sum) {
  const size_t width = sum.rows, rest = sum.cols - width;
  blas_syrk(block.col_range(0, width), beta, sum.col_range(0, width));
  if (rest == 0) return;
  blas_gemm(Trans::yes, Trans::no, block.rows, T(1), block.col_range(0, width),
            block.col_range(width, rest), beta, sum.col_range(width, rest));
}

// sum += the products of the centred rows of x, as in add_products.
void sum_exactly(MatrixView<const float> x, const std::vector<double>& middle,
                 MatrixView<double> sum) {
  constexpr size_t kBlock = 128;
  Matrix<double> buffer(std::min(kBlock, x.rows), x.cols);
  for (size_t first = 0; first < x.rows; first += kBlock) {
    const auto block = buffer.view().row_range(0, std::min(kBlock, x.rows - first));
    centre(x.row_range(first, block.rows), middle, block);
    add_products<double>(block, 1, sum);
  }
}

// The same in float within blocks of rows, in double over them.
void sum_fast(MatrixView<const float> x, const std::vector<float>& middle, MatrixView<double> sum) {
  constexpr size_t kBlock = 256;
  Matrix<float> buffer(std::min(kBlock, x.rows), x.cols), products(sum.rows, sum.cols);
  for (size_t first = 0; first < x.rows; first += kBlock) {
    const auto block = buffer.view().row_range(0, std::min(kBlock, x.rows - first));
    centre(x.row_range(first, block.rows), middle, block);
    add_products<float>(block, 0, products);
    for (size_t r = 0; r < sum.rows; ++r) {
      double* to = &sum(r, 0);
      const float* from = &products(r, 0);
      for (size_t c = r; c < sum.cols; ++c) to[c] += from[c];
    }
  }
}

void sum_lanes(std::vector<Matrix<double>>& sums) {
  for (size_t lane = 1; lane < sums.size(); ++lane) {
    std::span<double> to = sums[0].flat();
    for (size_t i = 0; i < to.size(); ++i) to[i] += sums[lane].flat()[i];
  }
}

void mirror_upper(Matrix<double>& a) {
  for (size_t r = 0; r < a.rows(); ++r) {
    for (size_t c = 0; c < r; ++c) a(r, c) = a(c, r);
  }
}

}  // namespace

void gemm(Trans ta, Trans tb, double alpha, MatrixView<const double> a, MatrixView<const double> b,
          double beta, MatrixView<double> c) {
  constexpr size_t kChunk = 256;
  const size_t inner = ta == Trans::no ? a.cols : a.rows;
  assert((ta == Trans::no ? a.rows : a.cols) == c.rows);
  assert((tb == Trans::no ? b.cols : b.rows) == c.cols);
  assert((tb == Trans::no ? b.rows : b.cols) == inner);
  const auto multiply = [&](MatrixView<const double> pa, MatrixView<const double> pb,
                            MatrixView<double> pc) {
    OneBlasThread one;
    blas_gemm(ta, tb, inner, alpha, pa, pb, beta, pc);
  };
  if (c.rows == 0 || c.cols == 0) return;
  if (c.rows <= kChunk && c.cols <= kChunk) return multiply(a, b, c);
  if (c.rows >= c.cols) {
    parallel_chunks(c.rows, kChunk, [&](size_t first, size_t n) {
      multiply(ta == Trans::no ? a.row_range(first, n) : a.col_range(first, n), b,
               c.row_range(first, n));
    });
  } else {
    parallel_chunks(c.cols, kChunk, [&](size_t first, size_t n) {
      multiply(a, tb == Trans::no ? b.col_range(first, n) : b.row_range(first, n),
               c.col_range(first, n));
    });
  }
}

Matrix<double> scatter(MatrixView<const float> x, std::span<const double> mean, Sums precision) {
  const Cut cut(x.rows, x.cols, x.cols * x.cols);
  std::vector<Matrix<double>> sums(cut.lanes, Matrix<double>(x.cols, x.cols));
  parallel_for(cut.lanes * cut.strips, [&](size_t task) {
    OneBlasThread one;
    const size_t left = task / cut.lanes * cut.strip, lane = task % cut.lanes;
    const size_t top = std::min(lane * cut.lane, x.rows), n = std::min(cut.lane, x.rows - top);
    const size_t height = std::min(cut.strip, x.cols - left), width = x.cols - left;
    const auto part = x.row_range(top, n).col_range(left, width);
    const auto sum = sums[lane].view().row_range(left, height).col_range(left, width);
    if (precision == Sums::fast) {
      sum_fast(part, centre_of<float>(mean, left, width), sum);
    } else {
      sum_exactly(part, centre_of<double>(mean, left, width), sum);
    }
  });
  sum_lanes(sums);
  mirror_upper(sums[0]);
  return std::move(sums[0]);
}

Matrix<double> cross_scatter(MatrixView<const float> x, std::span<const double> x_mean,
                             MatrixView<const float> y, std::span<const double> y_mean) {
  assert(x.rows == y.rows);
  constexpr size_t kBlock = 128;
  const Cut cut(x.rows, x.cols, x.cols * y.cols);
  std::vector<Matrix<double>> sums(cut.lanes, Matrix<double>(x.cols, y.cols));
  const std::vector<double> y_middle = centre_of<double>(y_mean, 0, y.cols);
  parallel_for(cut.lanes * cut.strips, [&](size_t task) {
    OneBlasThread one;
    const size_t left = task / cut.lanes * cut.strip, lane = task % cut.lanes;
    const size_t top = std::min(lane * cut.lane, x.rows);
    const size_t end = std::min(top + cut.lane, x.rows);
    const size_t height = std::min(cut.strip, x.cols - left);
    const std::vector<double> x_middle = centre_of<double>(x_mean, left, height);
    Matrix<double> x_buffer(kBlock, height), y_buffer(kBlock, y.cols);
    for (size_t first = top; first < end; first += kBlock) {
      const size_t n = std::min(kBlock, end - first);
      const auto xs = x_buffer.view().row_range(0, n), ys = y_buffer.view().row_range(0, n);
      centre(x.row_range(first, n).col_range(left, height), x_middle, xs);
      centre(y.row_range(first, n), y_middle, ys);
      blas_gemm(Trans::yes, Trans::no, n, 1.0, xs, ys, 1.0,
                sums[lane].view().row_range(left, height));
    }
  });
  sum_lanes(sums);
  return std::move(sums[0]);
}

}  // namespace kvsplice
