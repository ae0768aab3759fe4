// Principal components: mean, covariance and all eigenvectors.
#include <fmt/format.h>

#include <algorithm>

#include "bench/bench.h"
#include "core/random.h"
#include "core/threads.h"
#include "solve/solve.h"

namespace kvsplice::bench {

namespace {

constexpr size_t kColumns = 128;

struct Size {
  size_t tensors, rows;
};

Matrix<float> random_rows(size_t rows) {
  Matrix<float> x(rows, kColumns);
  Random random(1);
  for (float& value : x.flat()) value = static_cast<float>(random.uniform(-1, 1));
  return x;
}

bool pca(MatrixView<const float> x) { return symmetric_eigen(scatter(x, column_means(x))).ok(); }

// Half of the symmetric product, reduction to tridiagonal form and back-transformation, in double
// precision, which runs at half the speed of single precision; the solver between is left out.
double limit(const Surroundings& here, const Size& size) {
  const double tensors = double(size.tensors), n = double(size.rows), d = kColumns;
  const double flops = n * d * (d + 1) + 10.0 / 3 * d * d * d;
  return here.limit_ms(2 * flops * tensors, 4 * n * d * tensors);
}

Result<std::vector<Measurement>> run(Surroundings& here) {
  std::vector<Measurement> all;
  for (const Size& size : {Size{1, 2048}, Size{512, 2048}, Size{1, 4500}}) {
    const auto [tensors, rows] = size;
    const Matrix<float> x = random_rows(tensors * rows);
    // One tensor is cut up for the threads; of many, each thread takes whole ones.
    std::vector<char> done(tensors);
    const auto one = [&, n = rows](size_t t) { done[t] = pca(x.view().row_range(t * n, n)); };
    const double ms = best_ms([&] { size.tensors == 1 ? one(0) : parallel_for(done.size(), one); });
    if (std::count(done.begin(), done.end(), 0) > 0) {
      return Error{ErrorKind::numeric, "pca: no convergence"};
    }
    all.push_back({fmt::format("{} x {} x {}", tensors, rows, kColumns), ms, limit(here, size),
                   here.peers("pca", {std::to_string(tensors), std::to_string(rows),
                                      std::to_string(kColumns)})});
  }
  return all;
}

}  // namespace

BenchCase pca_bench() {
  return {"pca", "principal components of tensors of 2048 and 4500 rows, and of 512 at once", run};
}

}  // namespace kvsplice::bench
