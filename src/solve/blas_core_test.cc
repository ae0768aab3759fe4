#include "solve/blas_core.h"

#include <gtest/gtest.h>

#include <optional>

namespace kvsplice {
namespace {

const std::vector<std::string> kAvx512 = {"AVX3_SPR", "AVX3_DL", "AVX3", "AVX2", "SSE4", "SSE2"};
const std::vector<std::string> kAvx2 = {"AVX2", "SSE4", "SSE2"};
const std::vector<std::string> kOld = {"SSE4", "SSE2"};
const std::optional<std::string> kStays;

TEST(BlasCore, OldCoresGiveWayToWhatTheProcessorCanDo) {
  for (const char* core : {"Prescott", "Nehalem", "Sandybridge", "Barcelona"}) {
    EXPECT_EQ(better_core(core, kAvx512), "SkylakeX") << core;
    EXPECT_EQ(better_core(core, kAvx2), "Haswell") << core;
    EXPECT_EQ(better_core(core, kOld), kStays) << core;
  }
  for (const char* core : {"Haswell", "Zen"}) {
    EXPECT_EQ(better_core(core, kAvx512), "SkylakeX") << core;
    EXPECT_EQ(better_core(core, kAvx2), kStays) << core;
  }
}

TEST(BlasCore, NewCoresAndUnknownOnesStay) {
  for (const char* core :
       {"SkylakeX", "Cooperlake", "SapphireRapids", "Excavator", "NotYetKnown"}) {
    EXPECT_EQ(better_core(core, kAvx512), kStays) << core;
    EXPECT_EQ(better_core(core, kAvx2), kStays) << core;
  }
  EXPECT_EQ(better_core("armv8", {"SVE2", "NEON"}), kStays);
}

TEST(BlasCore, SaysWhereItComesFrom) {
  EXPECT_EQ((BlasCore{"Haswell", "", false}).text(), "Haswell");
  EXPECT_EQ((BlasCore{"SkylakeX", "Prescott", false}).text(), "SkylakeX (OpenBLAS chose Prescott)");
  EXPECT_EQ((BlasCore{"Haswell", "", true}).text(), "Haswell (OPENBLAS_CORETYPE)");
  EXPECT_FALSE(blas_core().name.empty());
}

}  // namespace
}  // namespace kvsplice
