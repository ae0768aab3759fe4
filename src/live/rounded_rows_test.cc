#include "live/rounded_rows.h"

#include <gtest/gtest.h>

#include "core/relative_error_test.h"
#include "linalg/matrices_test.h"
#include "linalg/transposed.h"
#include "live/out_matrix.h"

namespace kvsplice::live {
namespace {

Matrix<float> product(const Matrix<float>& a, const Matrix<float>& b) {
  Matrix<float> made(a.rows(), b.cols());
  gemm(Trans::no, Trans::no, 1.f, a, b, 0.f, made);
  return made;
}

constexpr size_t kRows = 5, kColumns = 22, kDim = 18, kHeads = 2;

// Two bytes leave errors of about 1 / 254 of one's.
TEST(RoundedRows, ProductsAreAsExactAsTheirBytes) {
  const Matrix<float> values = noise(kRows, kColumns, 1), others = noise(kColumns, kDim, 2);
  const ByteMatrix weights = ByteMatrix::rounded(transposed(others));
  const Matrix<float> wanted = product(values, transposed(weights.floats()));
  for (size_t bytes : {1, 2}) {
    RoundedRows rows(kRows, kColumns, bytes);
    for (size_t r = 0; r < kRows; ++r) rows.set(r, values.row(r), ones(kColumns));
    Matrix<float> got(kRows, kDim);
    std::vector<float> scratch;
    rows.multiply(0, {weights.panels(), weights.scale().data()}, got, scratch);
    const double error = relative_error(got.flat(), wanted.flat());
    EXPECT_LT(error, bytes == 1 ? 2e-2 : 1e-4);
    EXPECT_GT(error, bytes == 1 ? 1e-3 : 1e-6);
    rows.add_to(1, {weights.panels(), weights.scale().data()}, got.view().row_range(1, 3), scratch);
    for (size_t j = 0; j < kDim; ++j) {
      EXPECT_NEAR(got(0, j), wanted(0, j), 0.3);
      EXPECT_NEAR(got(3, j), 2 * wanted(3, j), 0.6);
    }
    float total = 0;
    for (float v : values.row(2)) total += v;
    EXPECT_NEAR(rows.total(2), total, bytes == 1 ? 0.2 : 1e-3);
  }
}

TEST(OutMatrix, MakesOfColumnsWhatItsFloatsDo) {
  for (Kind kind : {Kind::key, Kind::value}) {
    Matrix<float> out = noise(kColumns, kHeads * kDim, 3);
    for (size_t c = 0; c < kColumns; ++c) {  // columns of very different size, and one of none
      for (float& v : out.row(c)) v *= c == 3 ? 0 : float(c * c + 1);
    }
    const OutMatrix matrix(kind, out, kDim);
    const Matrix<float> floats = matrix.floats();
    EXPECT_LT(relative_error(floats.flat(), out.flat()), 1e-2);
    EXPECT_LT(matrix.bytes(), out.size() * sizeof(float) * 2 / 3);  // panels are filled up
    for (size_t h = 0; h < kHeads; ++h) {
      const Matrix<float> own = copy(floats.view().col_range(h * kDim, kDim));
      std::vector<float> scratch;
      if (kind == Kind::value) {
        const Matrix<float> sums = noise(kRows, kColumns, 4), wanted = product(sums, own);
        Matrix<float> got(kRows, kDim);
        matrix.unfold(h, matrix.sums(sums), 0, got, scratch);
        EXPECT_LT(relative_error(got.flat(), wanted.flat()), 1e-3);
        continue;
      }
      const Matrix<float> asked = noise(kRows, kDim, 5);
      RoundedRows queries(kRows, kDim, 2);
      for (size_t r = 0; r < kRows; ++r) queries.set(r, asked.row(r), ones(kDim));
      Matrix<float> got(kRows, kColumns);
      matrix.fold(h, queries, 0, got, scratch);
      for (size_t r = 0; r < kRows; ++r) {
        for (size_t c = 0; c < kColumns; ++c) {
          double wanted = 0, size = 1e-6;
          for (size_t j = 0; j < kDim; ++j) {
            wanted += double(asked(r, j)) * own(c, j);
            size += std::abs(double(asked(r, j)) * own(c, j));
          }
          EXPECT_NEAR(got(r, c), wanted, 1e-3 * size);
        }
      }
    }
  }
}

}  // namespace
}  // namespace kvsplice::live
