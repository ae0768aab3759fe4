// Attention of one layer over computed positions; the limit is reading its f16 keys and values.
#include <fmt/format.h>

#include "bench/bench.h"
#include "train/siren_attention.h"

namespace kvsplice::bench {

namespace {

constexpr size_t kHeads = 8, kQueries = 32, kDim = 128;

functions::SirenModel network(size_t hidden, size_t layers) {
  functions::SirenModel model{{hidden, layers, 1, 30}, {}, {{0}, {1}}};
  const auto start = functions::initial_parameters(model.shape, 0);
  model.parameters.assign(start.begin(), start.end());
  return model;
}

Result<std::vector<Measurement>> run(Surroundings& here) {
  std::vector<Measurement> all;
  for (const auto& [name, hidden, layers] :
       {std::tuple{"256 waves", 256, 0}, {"tiny", 64, 1}, {"small", 128, 1}}) {
    for (size_t n : {2048, 8192, 32768}) {
      const train::SirenTrunk trunk(network(size_t(hidden), size_t(layers)), n);
      const Matrix<float> queries(kQueries, size_t(hidden) + 1);
      const double ms = best_ms([&] { train::mix_features(trunk, trunk, queries); });
      const double bytes = 2.0 * double(n) * kHeads * 2 * kDim;
      all.push_back({fmt::format("{} shared by 8 x 128, {} positions", name, n), ms,
                     here.limit_ms(0, bytes)});
    }
  }
  return all;
}

}  // namespace

BenchCase siren_attention_bench() {
  return {"siren-attention", "attention over computed positions, against reading f16", run};
}

}  // namespace kvsplice::bench
