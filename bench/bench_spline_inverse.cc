// The spline's way back, 4500 x 128 values.
#include "bench/bench.h"
#include "functions/spline.h"
#include "train/geometric_mix.h"
#include "train/quantile_knots.h"

namespace kvsplice::bench {

namespace {

Result<std::vector<Measurement>> run(Surroundings& here) {
  KVS_ASSIGN(const auto mix, train::geometric_mix());
  const functions::Spline<float> spline(train::quantile_knots(mix.train, 7));
  Matrix<float> z(mix.train.rows(), mix.train.cols()), x(z.rows(), z.cols());
  spline.forward(mix.train, z);
  const double ms = best_ms([&] { spline.inverse(z, x); });
  const double values = double(z.size());
  // Five comparisons, ten choices and a multiply-add, counted as eight multiply-adds.
  return std::vector<Measurement>{{"4500 x 128", ms, here.limit_ms(16 * values, 8 * values),
                                   here.peers("warps", {"spline-inverse"})}};
}

}  // namespace

BenchCase spline_inverse_bench() { return {"spline-inverse", "inverse of the spline warp", run}; }

}  // namespace kvsplice::bench
