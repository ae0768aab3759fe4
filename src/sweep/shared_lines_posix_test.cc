#include <gmock/gmock.h>

#include <fstream>
#include <map>

#include "core/temporary_folder.h"
#include "sweep/processes_test.h"
#include "sweep/shared_lines.h"

namespace kvsplice::sweep {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class SharedLinesTest : public ::testing::Test {
 protected:
  TemporaryFolder folder = *TemporaryFolder::create("lines");
  std::filesystem::path path = folder.file("lines");
};

TEST_F(SharedLinesTest, AreReadAsTheyCome) {
  SharedLines mine(path), theirs(path);
  EXPECT_THAT(*mine.more(), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(path));
  ASSERT_TRUE(mine.add("one").ok());
  ASSERT_TRUE(theirs.add("two").ok());
  EXPECT_THAT(*mine.more(), ElementsAre("one", "two"));
  EXPECT_THAT(*mine.more(), IsEmpty());
  ASSERT_TRUE(mine.add("").ok());
  EXPECT_THAT(*mine.more(), ElementsAre(""));
  EXPECT_THAT(*theirs.more(), ElementsAre("one", "two", ""));
}

TEST_F(SharedLinesTest, OneCutShortIsNoneUntilAnotherFollows) {
  std::ofstream(path) << "one\ntw";
  SharedLines lines(path);
  EXPECT_THAT(*lines.more(), ElementsAre("one"));
  EXPECT_THAT(*lines.more(), IsEmpty());
  ASSERT_TRUE(lines.add("three").ok());
  EXPECT_THAT(*lines.more(), ElementsAre("tw", "three"));
}

TEST_F(SharedLinesTest, StayWholeWhenManyAdd) {
  constexpr int kProcesses = 4, kLines = 200;
  std::vector<pid_t> children;
  for (int p = 0; p < kProcesses; ++p) {
    children.push_back(in_a_process([&, p] {
      const SharedLines lines(path);
      for (int i = 0; i < kLines; ++i) {
        if (!lines.add(std::string(size_t(1 + i), char('a' + p))).ok()) return 1;
      }
      return 0;
    }));
  }
  EXPECT_THAT(ends_of(children), ::testing::Each(0));
  std::map<char, size_t> seen;  // each process's lines grow by one letter
  const auto all = *SharedLines(path).more();
  for (const auto& line : all) {
    ASSERT_FALSE(line.empty());
    EXPECT_EQ(line, std::string(++seen[line[0]], line[0]));
  }
  EXPECT_EQ(seen.size(), size_t(kProcesses));
  for (const auto& [letter, count] : seen) EXPECT_EQ(count, size_t(kLines)) << letter;
}

TEST_F(SharedLinesTest, WhatCannotBeWrittenIsSaid) {
  const auto added = SharedLines(folder.file("nowhere/lines")).add("one");
  ASSERT_FALSE(added.ok());
  EXPECT_EQ(added.error().kind, ErrorKind::io);
}

}  // namespace
}  // namespace kvsplice::sweep
