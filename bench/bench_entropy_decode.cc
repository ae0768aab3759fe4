// Decoding of entropy-coded blocks as sessions hold them, on one core.
#include <fmt/format.h>

#include <cmath>

#include "bench/bench.h"
#include "core/random.h"
#include "core/threads.h"
#include "range/coder_kernel.h"
#include "range/fit.h"

namespace kvsplice::bench {

namespace {

constexpr size_t kRows = 256, kCols = 192;

// Two-sided geometric codes, scale falling over the columns, as a transform and a step leave them.
Matrix<int32_t> generate(double scale) {
  Random random(1);
  Matrix<int32_t> codes(4 * kRows, kCols);
  for (size_t r = 0; r < codes.rows(); ++r) {
    for (size_t c = 0; c < kCols; ++c) {
      const double s = scale * std::pow(0.01, double(c) / kCols);
      const double x = s * -std::log(1 - random.uniform());
      codes(r, c) = static_cast<int32_t>(std::lround(x)) * (random.below(2) == 0 ? 1 : -1);
    }
  }
  return codes;
}

Result<std::vector<Measurement>> run(Surroundings& here) {
  std::vector<Measurement> all;
  for (const double scale : {0.4, 1.0, 4.0}) {
    const Matrix<int32_t> codes = generate(scale);
    KVS_ASSIGN(const range::Model model,
               range::make_model(range::calibrate(codes, range::medians(codes))));
    range::Encoded encoded = range::encode(model, codes.data(), kRows);
    const double bytes = 2.0 * double(encoded.words.size()) + double(encoded.escapes.size());
    encoded.words.resize(encoded.words.size() + range::padding_words(model));
    Matrix<int32_t> back(kRows, kCols);
    const double ms = best_ms([&] { (void)range::decode(model, encoded, kRows, back.data()); });
    const double million_per_s = double(back.size()) / ms / 1e3;
    all.push_back({fmt::format("{} symbols of {:.2f} bits, {:.0f} M/s on one core", back.size(),
                               8 * bytes / double(back.size()), million_per_s),
                   ms, here.limit_ms(0, bytes + 4.0 * double(back.size())),
                   here.peers("entropy_decode", {fmt::format("{}", scale)})});
  }
  return all;
}

}  // namespace

BenchCase entropy_decode_bench() {
  return {"entropy-decode", "Decoding of rANS-coded blocks of 256 x 192 codes", run};
}

}  // namespace kvsplice::bench
