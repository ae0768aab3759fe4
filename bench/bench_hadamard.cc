// The Walsh-Hadamard transform of many short blocks in memory.
#include <fmt/format.h>

#include "bench/bench.h"
#include "codec/transform/hadamard/hadamard_kernel.h"
#include "core/random.h"
#include "core/threads.h"
#include "simd/aligned.h"

namespace kvsplice::bench {

namespace {

constexpr size_t kValues = size_t{1} << 24;  // 64 MiB: a cache of a few thousand tokens

// Memory traffic: every value is read and written once.
Result<std::vector<Measurement>> run(Surroundings& here) {
  AlignedVector<float> x(kValues);
  Random random(1);
  for (float& value : x) value = static_cast<float>(random.uniform(-1, 1));
  std::vector<Measurement> all;
  for (const size_t size : {64, 128}) {
    const size_t blocks = kValues / size;
    const double ms = best_ms([&] {
      parallel_chunks(blocks, 1024,
                      [&](size_t first, size_t n) { codec::hadamard(&x[first * size], n, size); });
    });
    all.push_back({fmt::format("{} blocks of {}", blocks, size), ms,
                   here.limit_ms(0, 2.0 * sizeof(float) * kValues),
                   here.peers("hadamard", {std::to_string(blocks), std::to_string(size)})});
  }
  return all;
}

}  // namespace

BenchCase hadamard_bench() {
  return {"hadamard", "Walsh-Hadamard transform of 16 million values", run};
}

}  // namespace kvsplice::bench
