#include "store/lines.h"

#include <gmock/gmock.h>

#include "store/store_objects_test.h"

namespace kvsplice::store {
namespace {

std::vector<Entry> entries_of(const std::vector<Object>& objects) {
  std::vector<Entry> entries;
  for (const Object& object : objects) entries.push_back({object.head, 100, 0, false});
  return entries;
}

std::vector<int32_t> text(int32_t first, size_t n) {
  std::vector<int32_t> tokens(n);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

const auto kAll = [](const Entry&) { return true; };

TEST(Lines, BranchesShareWhatTheyBeginWith) {
  const Hash root = root_named(key_of());
  auto other = text(0, 3 * kBlock);
  other.back() = 99;
  auto objects = objects_of(root, text(0, 2 * kBlock + 2));
  for (Object& object : objects_of(root, other)) objects.push_back(std::move(object));
  const auto lines = lines_of(entries_of(objects), kAll);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(tokens_of(lines[0]), 3 * kBlock) << "longest first";
  EXPECT_EQ(tokens_of(lines[1]), 2 * kBlock + 2);
  EXPECT_EQ(lines[0][0].head.own, lines[1][0].head.own);
  EXPECT_EQ(lines[0].size(), 3u);
}

TEST(Lines, WhatLeadsNowhereIsLeftOut) {
  const Hash root = root_named(key_of());
  auto objects = objects_of(root, text(0, 3 * kBlock));
  const Hash gone = objects[1].head.own;
  const auto lines =
      lines_of(entries_of(objects), [&](const Entry& e) { return e.head.own != gone; });
  ASSERT_EQ(lines.size(), 1u) << "what the lost one left behind is none";
  EXPECT_EQ(tokens_of(lines[0]), kBlock);
}

TEST(Lines, CirclesEnd) {
  auto objects = objects_of(root_named(key_of()), text(0, 3 * kBlock));
  objects[1].head.parent = objects[2].head.own;
  objects[1].head.first = 3 * kBlock;
  EXPECT_EQ(lines_of(entries_of(objects), kAll).size(), 1u);
}

}  // namespace
}  // namespace kvsplice::store
