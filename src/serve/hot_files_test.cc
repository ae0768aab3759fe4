#include "serve/hot_files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "core/temporary_folder.h"
#include "serve/tokens_test.h"

namespace kvsplice::serve {
namespace {

class HotFilesTest : public testing::Test {
 protected:
  std::string made(const std::string& name, size_t bytes) const {
    const std::string path = folder_.file(name);
    std::ofstream(path) << std::string(bytes, 'x');
    return path;
  }
  static bool is_there(const std::string& path) { return std::filesystem::exists(path); }

  TemporaryFolder folder_ = TemporaryFolder::create("hot").value();
};

TEST_F(HotFilesTest, TheFileThatSharesMostIsFound) {
  HotFiles hot(1000);
  hot.add(made("a", 100), "t", tokens(0, 50));
  auto branch = tokens(0, 80);
  branch[40] = -1;
  hot.add(made("b", 100), "t", branch);
  const auto found = hot.find("t", tokens(0, 90), false);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->path(), folder_.file("a"));
  EXPECT_EQ(hot.find("other", tokens(0, 90), false), nullptr);
  EXPECT_EQ(hot.find("t", tokens(7, 90), false), nullptr);
}

TEST_F(HotFilesTest, WholeOnesOnlyWhereCellsCannotBeCut) {
  HotFiles hot(1000);
  hot.add(made("a", 100), "t", tokens(0, 50));
  EXPECT_NE(hot.find("t", tokens(0, 40), false), nullptr);
  EXPECT_EQ(hot.find("t", tokens(0, 40), true), nullptr);
  EXPECT_NE(hot.find("t", tokens(0, 50), true), nullptr);
}

TEST_F(HotFilesTest, WhatWasUsedLongestAgoMakesRoom) {
  HotFiles hot(250);
  const std::string a = made("a", 100), b = made("b", 100), c = made("c", 100);
  hot.add(a, "t", tokens(0, 50));
  hot.add(b, "t", tokens(100, 50));
  hot.find("t", tokens(0, 50), false);
  hot.add(c, "t", tokens(200, 50));
  EXPECT_TRUE(is_there(a));
  EXPECT_FALSE(is_there(b));
  EXPECT_TRUE(is_there(c));
  EXPECT_EQ(hot.totals().files, 2u);
  EXPECT_EQ(hot.totals().bytes, 200u);
}

TEST_F(HotFilesTest, AConversationIsKeptOnceAndTheLargestNotAtAll) {
  HotFiles hot(250);
  const std::string a = made("a", 100), b = made("b", 120), c = made("c", 251);
  hot.add(a, "t", tokens(0, 50));
  hot.add(b, "t", tokens(0, 70));
  hot.add(c, "t", tokens(0, 90));
  EXPECT_FALSE(is_there(a));
  EXPECT_TRUE(is_there(b));
  EXPECT_FALSE(is_there(c));
  EXPECT_EQ(hot.totals().bytes, 120u);
}

TEST_F(HotFilesTest, AFileInUseStaysUntilItIsGivenBack) {
  HotFiles hot(100);
  const std::string a = made("a", 100), b = made("b", 100);
  hot.add(a, "t", tokens(0, 50));
  auto held = hot.find("t", tokens(0, 50), false);
  hot.add(b, "t", tokens(100, 50));
  EXPECT_TRUE(is_there(a));
  held.reset();
  EXPECT_FALSE(is_there(a));
  EXPECT_TRUE(is_there(b));
}

TEST_F(HotFilesTest, NoneAreKeptUnlessAskedFor) {
  HotFiles none(0);
  const std::string a = made("a", 1);
  none.add(a, "t", tokens(0, 50));
  EXPECT_FALSE(is_there(a));
}

TEST_F(HotFilesTest, AllGoWithTheirKeeper) {
  const std::string a = made("a", 100);
  {
    HotFiles hot(1000);
    hot.add(a, "t", tokens(0, 50));
    EXPECT_TRUE(is_there(a));
  }
  EXPECT_FALSE(is_there(a));
}

}  // namespace
}  // namespace kvsplice::serve
