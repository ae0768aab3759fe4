// usage: fuzz_seeds FOLDER: writes FOLDER/<driver>/<number> for every driver that has seeds.
#include <cstdio>
#include <filesystem>

#include "core/file.h"
#include "core/threads.h"
#include "seeds.h"
#include "solve/blas_core.h"

namespace kvsplice::fuzz {
namespace {

namespace fs = std::filesystem;

Result<> write_seeds(const Seeds& seeds, const fs::path& folder) {
  fs::remove_all(folder);
  fs::create_directories(folder);
  const fs::path scratch = folder / "scratch";
  KVS_ASSIGN(const std::vector<Bytes> made, seeds.make(scratch.string()));
  fs::remove(scratch);
  if (made.empty()) return Error{ErrorKind::usage, "no seeds"};
  for (size_t i = 0; i < made.size(); ++i) {
    KVS_TRY(write_file(folder / std::to_string(i), made[i]));
  }
  return {};
}

}  // namespace
}  // namespace kvsplice::fuzz

int main(int argc, char** argv) {
  using namespace kvsplice;
  if (argc != 2) {
    std::fprintf(stderr, "usage: fuzz_seeds FOLDER\n");
    return 2;
  }
  (void)correct_blas_core(argv).ok();  // its oldest kernels read behind the ends of matrices
  set_thread_count(1);
  for (const fuzz::Seeds& seeds : fuzz::seeds_table()) {
    const auto written = fuzz::write_seeds(seeds, std::filesystem::path(argv[1]) / seeds.driver);
    if (written.ok()) continue;
    std::fprintf(stderr, "%s: %s\n", seeds.driver.c_str(), written.error().message.c_str());
    return 1;
  }
}
