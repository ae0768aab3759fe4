#include "store/remote/children.h"

#include <gmock/gmock.h>

#include "store/store_objects_test.h"

namespace kvsplice::store {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Child tail(std::vector<int32_t> tokens) { return {ObjectKind::tail, std::move(tokens)}; }
Child block(std::vector<int32_t> tokens) { return {ObjectKind::block, std::move(tokens)}; }

class Children : public testing::Test {
 protected:
  const Key key_ = key_of();
  const Hash parent_ = root_named(key_);
};

TEST_F(Children, ComeBack) {
  const std::vector<Child> children = {tail({1, -2, INT32_MAX}), block(text(5, 256))};
  const Bytes sealed = seal_children(children, parent_, key_);
  EXPECT_EQ(open_children(sealed, parent_, key_).value(), children);
  EXPECT_THAT(open_children(seal_children({}, parent_, key_), parent_, key_).value(), IsEmpty());
  const std::vector<int32_t> word(8, 0x41424344);
  const Bytes hidden = seal_children(std::vector{tail(word)}, parent_, key_);
  const Bytes plain = {0x44, 0x43, 0x42, 0x41};
  EXPECT_EQ(std::search(hidden.begin(), hidden.end(), plain.begin(), plain.end()), hidden.end());
}

TEST_F(Children, HaveTheNamesOfTheirObjects) {
  const auto objects = objects_of(parent_, text(0, kBlock));
  EXPECT_EQ(block(text(0, kBlock)).name(parent_), objects[0].head.own);
  EXPECT_NE(tail(text(0, kBlock)).name(parent_), objects[0].head.own);
  EXPECT_NE(entry_name(parent_), entry_name(objects[0].head.own));
}

TEST_F(Children, AreRefusedIfAnythingIsAltered) {
  const Bytes sealed = seal_children(std::vector{tail({1, 2})}, parent_, key_);
  for (size_t i = 0; i < sealed.size(); ++i) {
    Bytes other = sealed;
    other[i] ^= 1;
    EXPECT_FALSE(open_children(other, parent_, key_).ok()) << i;
    EXPECT_FALSE(open_children(ByteSpan(sealed).first(i), parent_, key_).ok()) << i;
  }
  EXPECT_FALSE(open_children(sealed, Hash::of(sealed), key_).ok()) << "of another parent";
  EXPECT_FALSE(open_children(sealed, parent_, key_of(9)).ok()) << "of another key";
}

TEST_F(Children, NewestStandFirst) {
  std::vector<Child> children;
  EXPECT_THAT(add_child(children, tail({1, 2}), parent_), IsEmpty());
  EXPECT_THAT(add_child(children, block({3, 4}), parent_), IsEmpty());
  EXPECT_THAT(add_child(children, tail({1, 2}), parent_), IsEmpty()) << "again";
  EXPECT_THAT(children, ElementsAre(tail({1, 2}), block({3, 4})));
}

TEST_F(Children, TailsThatHaveGrownGo) {
  std::vector<Child> children = {tail({1, 2}), tail({1, 3}), block({1})};
  const auto gone = add_child(children, tail({1, 2, 3}), parent_);
  EXPECT_THAT(gone, ElementsAre(tail({1, 2}).name(parent_)));
  EXPECT_THAT(children, ElementsAre(tail({1, 2, 3}), tail({1, 3}), block({1})));
  EXPECT_THAT(add_child(children, block({1, 2, 3}), parent_),
              ElementsAre(tail({1, 2, 3}).name(parent_)));
}

TEST_F(Children, AreNoMoreThanAnEntryHolds) {
  std::vector<Child> children;
  for (int32_t i = 0; i < 40; ++i) (void)add_child(children, tail({i}), parent_);
  EXPECT_EQ(children.size(), 16u);
  EXPECT_EQ(children[15].tokens[0], 24);
  for (int32_t i = 0; i < 8; ++i) (void)add_child(children, tail(text(i, 10000)), parent_);
  EXPECT_EQ(children.size(), 6u);
  EXPECT_LT(seal_children(children, parent_, key_).size(), kMostEntryBytes);
  (void)add_child(children, tail(text(0, 100000)), parent_);
  EXPECT_THAT(children, IsEmpty()) << "too long to be told of";
}

}  // namespace
}  // namespace kvsplice::store
