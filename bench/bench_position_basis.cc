// Closed-form position basis: cosine transform of one tensor and the choice of its coefficients.
#include <fmt/format.h>

#include <algorithm>

#include "bench/bench.h"
#include "bench/waves.h"
#include "functions/dct.h"
#include "functions/siren.h"

namespace kvsplice::bench {

namespace {

constexpr size_t kRows = 2048, kColumns = 128, kCount = 512;

// Mean square of what the coefficients do not hold; the transform keeps squares.
double left_over(const Matrix<float>& all, const Matrix<float>& kept) {
  const auto squares = [](const Matrix<float>& m) {
    double sum = 0;
    for (float x : m.flat()) sum += double(x) * x;
    return sum;
  };
  return (squares(all) - squares(kept)) / double(all.size());
}

Result<std::vector<Measurement>> run(Surroundings& here) {
  const Matrix<float> targets = waves(kRows, kColumns);
  const functions::Dct dct(kRows);
  double loss = 0;
  const double ms = best_ms([&] {
    const auto standard = functions::standardise(targets, functions::column_scale(targets));
    const auto all = dct.forward(standard);
    const auto rows = functions::strongest_rows(all, kCount);
    Matrix<float> coefficients(rows.size(), kColumns);
    for (size_t i = 0; i < rows.size(); ++i) {
      std::copy_n(all.row(rows[i]).begin(), kColumns, coefficients.row(i).begin());
    }
    loss = left_over(all, coefficients);
  });
  // A real transform by halves: 2.5 n log2 n operations a column; or reading and writing once.
  const double n = kRows, d = kColumns;
  return std::vector<Measurement>{
      {fmt::format("{} x {} by {} coefficients, loss {:.4f}", kRows, kColumns, kCount, loss), ms,
       here.limit_ms(2.5 * n * 11 * d, 8 * n * d),
       here.peers("dct",
                  {std::to_string(kRows), std::to_string(kColumns), std::to_string(kCount)})}};
}

}  // namespace

BenchCase position_basis_bench() {
  return {"position-basis", "cosine transform of a tensor and its strongest coefficients", run};
}

}  // namespace kvsplice::bench
