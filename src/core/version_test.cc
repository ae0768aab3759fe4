#include "core/version.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <regex>

namespace kvsplice {
namespace {

TEST(Version, IsTheProjects) {
  std::ifstream file(KVSPLICE_SOURCE_DIR "/CMakeLists.txt");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  std::smatch found;
  ASSERT_TRUE(std::regex_search(text, found, std::regex("project\\(KVSplice VERSION ([0-9.]+)")));
  EXPECT_EQ(version(), found[1].str());
}

}  // namespace
}  // namespace kvsplice
