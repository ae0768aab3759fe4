#include "solve/blas_core.h"

#include <cblas.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "simd/target.h"
#include "solve/openmp.h"
#include "solve/start_again.h"

namespace kvsplice {

namespace {

constexpr const char* kChoice = "OPENBLAS_CORETYPE";
constexpr const char* kMark = "KVSPLICE_BLAS_CORE_WAS";  // from before the start to after it

std::string g_corrected;  // set at the start of main, when there is one thread

// Names of old cores are listed, not those of new ones: to them others will be added.
constexpr std::string_view kBeforeAvx2[] = {
    "Katmai",       "Coppermine", "Northwood", "Prescott",    "Banias",     "Atom",       "Core2",
    "Penryn",       "Dunnington", "Nehalem",   "Sandybridge", "Athlon",     "Nano",       "Opteron",
    "Opteron_SSE3", "Barcelona",  "Bobcat",    "Bulldozer",   "Piledriver", "Steamroller"};
constexpr std::string_view kAvx2[] = {"Haswell", "Zen"};

bool contains(const auto& all, std::string_view name) {
  return std::find(std::begin(all), std::end(all), name) != std::end(all);
}

// Builds for one processor only have one set of kernels.
bool can_choose() {
  return std::string_view(openblas_get_config()).find("DYNAMIC_ARCH") != std::string_view::npos;
}

}  // namespace

std::string BlasCore::text() const {
  if (by_user) return fmt::format("{} ({})", name, kChoice);
  return corrected.empty() ? name : fmt::format("{} (OpenBLAS chose {})", name, corrected);
}

BlasCore blas_core() {
  const std::string name = openblas_get_corename();
  return {name, name == g_corrected ? "" : g_corrected, std::getenv(kChoice) != nullptr};
}

std::optional<std::string> better_core(const std::string& core,
                                       const std::vector<std::string>& targets) {
  const bool before_avx2 = contains(kBeforeAvx2, core);
  if (contains(targets, "AVX3") && (before_avx2 || contains(kAvx2, core))) return "SkylakeX";
  if (contains(targets, "AVX2") && before_avx2) return "Haswell";
  return {};
}

Result<> correct_blas_core(char** argv) {
  undo_openmp_binding();
  if (const char* mark = std::getenv(kMark)) {
    g_corrected = mark;
    unsetenv(kMark);
    unsetenv(kChoice);
    return {};
  }
  if (std::getenv(kChoice) != nullptr || !can_choose()) return {};
  const std::string chosen = openblas_get_corename();
  const auto better = better_core(chosen, simd_targets());
  if (!better) return {};
  setenv(kChoice, better->c_str(), 1);
  setenv(kMark, chosen.c_str(), 1);
  const Error why = start_again(argv);
  unsetenv(kChoice);
  unsetenv(kMark);
  return Error{why.kind, fmt::format("OpenBLAS takes this processor for '{}' and is slow; {}={} "
                                     "in the environment corrects that ({})",
                                     chosen, kChoice, *better, why.message)};
}

}  // namespace kvsplice
