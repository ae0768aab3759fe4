// Products of matrices as codecs make them, one on each thread, beside OpenBLAS's.
#include <cblas.h>
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "bench/bench.h"
#include "core/random.h"
#include "core/threads.h"
#include "linalg/linalg.h"
#include "solve/blas_core.h"
#include "solve/one_blas_thread.h"

namespace kvsplice::bench {

namespace {

// b is [inner x cols] or, `across`, its transpose; a `lower` one is lower triangular.
struct Shape {
  const char* what;
  size_t rows, inner, cols;
  bool across = false, lower = false;

  double operations() const {
    return (lower ? 1.0 : 2.0) * double(rows) * double(inner) * double(cols);
  }
};

constexpr Shape kShapes[] = {
    {"predictor", 512, 1400, 192, true},
    {"klt", 256, 192, 192, true},
    {"klt, back", 256, 192, 192},
    {"head", 512, 64, 64},
    {"distances", 512, 192, 512, true},
    {"recall", 512, 512, 192, false, true},
    {"strip", 32, 256, 192},
    {"wide", 512, 1024, 1024, true},
};

struct Operands {
  Matrix<float> a, b, c;

  explicit Operands(const Shape& s)
      : a(s.rows, s.inner),
        b(s.across ? s.cols : s.inner, s.across ? s.inner : s.cols),
        c(s.rows, s.cols) {
    Random random(1);
    for (float& x : a.flat()) x = static_cast<float>(random.normal());
    for (float& x : b.flat()) x = static_cast<float>(random.normal());
    for (size_t r = 0; s.lower && r < s.rows; ++r) {
      std::fill(a.row(r).begin() + r + 1, a.row(r).end(), 0.f);
    }
  }
};

void by_us(const Shape& s, Operands& o) {
  if (s.lower) return multiply_lower(o.a, o.b, o.c);
  gemm(Trans::no, s.across ? Trans::yes : Trans::no, 1.f, o.a, o.b, 0.f, o.c);
}

// OpenBLAS has triangular products, but in place of b and no faster than this.
void by_blas(const Shape& s, Operands& o) {
  const OneBlasThread one;
  cblas_sgemm(CblasRowMajor, CblasNoTrans, s.across ? CblasTrans : CblasNoTrans, blasint(s.rows),
              blasint(s.cols), blasint(s.inner), 1, o.a.data(), blasint(o.a.cols()), o.b.data(),
              blasint(o.b.cols()), 0, o.c.data(), blasint(o.c.cols()));
}

Result<std::vector<Measurement>> run(Surroundings& here) {
  const size_t threads = static_cast<size_t>(thread_count());
  std::vector<Measurement> all;
  for (const Shape& shape : kShapes) {
    std::vector<Operands> operands(threads, Operands(shape));
    const auto timed = [&](void (*multiply)(const Shape&, Operands&)) {
      return best_ms(
          [&] { parallel_for(threads, [&](size_t i) { multiply(shape, operands[i]); }); });
    };
    all.push_back({fmt::format("{}: {} x {} x {}", shape.what, shape.rows, shape.inner, shape.cols),
                   timed(by_us),
                   here.limit_ms(shape.operations() * static_cast<double>(threads), 0),
                   {{fmt::format("OpenBLAS {}", blas_core().text()), timed(by_blas)}}});
  }
  return all;
}

}  // namespace

BenchCase product_bench() {
  return {"product", "products of matrices of the sizes that codecs have, one on each thread", run};
}

}  // namespace kvsplice::bench
