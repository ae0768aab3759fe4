#include "serve/cell_settings.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/temporary_folder.h"

namespace kvsplice::serve {
namespace {

TEST(CellSettingsTest, MostOptionsChangeNothing) {
  EXPECT_EQ(cell_settings({"-c", "8192", "-np", "2", "--threads", "1", "-ngl", "99"}, {"HOME=/x"}),
            "");
}

TEST(CellSettingsTest, WhatIsComputedOtherwiseHasAnotherName) {
  const std::string one = cell_settings({"--rope-freq-scale", "0.5", "-c", "1"}, {});
  EXPECT_EQ(one, "--rope-freq-scale 0.5");
  EXPECT_EQ(cell_settings({"--rope-freq-scale=0.5"}, {}), one);
  EXPECT_EQ(cell_settings({"--yarn-attn-factor", "-1.5", "--rope-scaling", "yarn"}, {}),
            "--rope-scaling yarn; --yarn-attn-factor -1.5");
  EXPECT_EQ(cell_settings({"--control-vector-layer-range", "1", "5", "-c", "7"}, {}),
            "--control-vector-layer-range 1 5");
  EXPECT_EQ(cell_settings({}, {"LLAMA_ARG_ROPE_SCALE=2", "LLAMA_ARG_THREADS=3"}),
            "LLAMA_ARG_ROPE_SCALE=2");
}

TEST(CellSettingsTest, FilesCountByWhatIsInThem) {
  const auto folder = TemporaryFolder::create("settings").value();
  const std::string a = folder.file("a"), b = folder.file("b"), c = folder.file("c");
  std::ofstream(a) << "same";
  std::ofstream(b) << "same";
  std::ofstream(c) << "other";
  const auto of = [](const std::string& value) {
    return cell_settings({"--control-vector-scaled", value}, {});
  };
  EXPECT_EQ(of(a + ":0.5"), of(b + ":0.5"));
  EXPECT_NE(of(a + ":0.5"), of(a + ":0.6"));
  EXPECT_NE(of(a + ":0.5"), of(c + ":0.5"));
  EXPECT_EQ(of(a).find(a), std::string::npos);
}

}  // namespace
}  // namespace kvsplice::serve
