// A product of matrices by the kernels that OpenBLAS runs, beside others it has for this processor.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "bench/bench.h"
#include "core/random.h"
#include "core/temporary_folder.h"
#include "linalg/blas_core.h"
#include "linalg/linalg.h"
#include "report/manifest.h"
#include "report/subprocess.h"
#include "simd/target.h"

namespace kvsplice::bench {

namespace {

constexpr size_t kSize = 1024;

// Also what OpenBLAS would have taken by itself.
std::vector<std::string> other_cores(const BlasCore& here) {
  const std::vector<std::string> targets = simd_targets();
  const auto can = [&](const char* target) {
    return std::find(targets.begin(), targets.end(), target) != targets.end();
  };
  std::vector<std::string> cores;
  if (!here.corrected.empty()) cores.push_back(here.corrected);
  if (can("AVX2")) cores.insert(cores.end(), {"Haswell", "Zen"});
  if (can("AVX3")) cores.insert(cores.end(), {"SkylakeX", "Cooperlake", "SapphireRapids"});
  std::erase(cores, here.name);
  return cores;
}

// OpenBLAS chooses once per process, so another one runs this same case.
Result<report::StoredResults> run_with(const std::string& core) {
  KVS_ASSIGN(const TemporaryFolder folder, TemporaryFolder::create("bench"));
  std::error_code unknown;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe", unknown).string();
  KVS_ASSIGN(const report::Finished run,
             report::run_program({"env", "OPENBLAS_CORETYPE=" + core, self, "bench", "--only",
                                  "product", "-o", folder.path()},
                                 ""));
  if (run.exit_code != 0) {
    return Error{ErrorKind::io, fmt::format("exit code {}: {}", run.exit_code, run.errors)};
  }
  return report::read_results(folder.path());
}

// No peer where OpenBLAS has no such kernels and took others.
Result<std::optional<Peer>> peer_of(const std::string& core) {
  KVS_ASSIGN(const report::StoredResults results, run_with(core));
  const auto setting = std::find_if(results.machine.begin(), results.machine.end(),
                                    [](const auto& pair) { return pair.first == "openblas"; });
  if (setting == results.machine.end() || !setting->second.starts_with(core + " ")) {
    return std::optional<Peer>();
  }
  const double* ms = std::get_if<double>(&results.tables.at(0).rows().at(0).at(2));
  if (ms == nullptr) return Error{ErrorKind::format, "bench.json has no time"};
  return std::optional<Peer>({"OPENBLAS_CORETYPE=" + core, *ms});
}

std::vector<Peer> peers(Surroundings& here, const BlasCore& core) {
  std::vector<Peer> all;
  if (core.by_user) return all;
  for (const std::string& other : other_cores(core)) {
    const auto peer = peer_of(other);
    if (!peer.ok()) {
      here.note(fmt::format("product with {} is left out: {}", other, peer.error().message));
    } else if (*peer) {
      all.push_back(**peer);
    }
  }
  return all;
}

// Arithmetic only: a thousand operations for each value read.
Result<std::vector<Measurement>> run(Surroundings& here) {
  Random random(1);
  Matrix<float> a(kSize, kSize), b(kSize, kSize), c(kSize, kSize);
  for (float& x : a.flat()) x = static_cast<float>(random.normal());
  for (float& x : b.flat()) x = static_cast<float>(random.normal());
  const double ms = best_ms([&] { gemm(Trans::no, Trans::no, 1.0f, a, b, 0.0f, c); });
  const BlasCore core = blas_core();
  return std::vector<Measurement>{{fmt::format("{0} x {0} by {0}: {1}", kSize, core.text()), ms,
                                   here.limit_ms(2.0 * kSize * kSize * kSize, 0),
                                   peers(here, core)}};
}

}  // namespace

BenchCase product_bench() {
  return {"product",
          "a product of matrices by OpenBLAS, with each of its kernels for this processor", run};
}

}  // namespace kvsplice::bench
