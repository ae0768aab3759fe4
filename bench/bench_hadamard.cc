// The Walsh-Hadamard transform of many short blocks in memory.
#include <fmt/format.h>

#include "bench/bench.h"
#include "codec/transform/hadamard/hadamard_kernel.h"
#include "core/aligned.h"
#include "core/threads.h"

namespace kvsplice::bench {

namespace {

constexpr size_t kValues = size_t{1} << 26;  // 256 MiB, as for the measured limit

// Memory only: every value is updated once.
Result<std::vector<Measurement>> run(Surroundings& here) {
  AlignedVector<float> x(kValues);
  for (size_t i = 0; i < kValues; ++i) x[i] = static_cast<float>(i % 251) - 125;
  std::vector<Measurement> all;
  for (const size_t size : {64, 128}) {
    const size_t blocks = kValues / size;
    const double ms = best_ms([&] {
      parallel_chunks(blocks, 1024,
                      [&](size_t first, size_t n) { codec::hadamard(&x[first * size], n, size); });
    });
    all.push_back({fmt::format("{} blocks of {}", blocks, size), ms,
                   here.limit_ms(0, 0, 1.0 * sizeof(float) * kValues),
                   here.peers("hadamard", {std::to_string(blocks), std::to_string(size)})});
  }
  return all;
}

}  // namespace

BenchCase hadamard_bench() {
  return {"hadamard", "Walsh-Hadamard transform of 64 million values", run};
}

}  // namespace kvsplice::bench
