#include "store/bank.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "core/file.h"
#include "core/temporary_folder.h"
#include "session/sliding_cells.h"
#include "store/fitted_test.h"

namespace kvsplice::store {
namespace {

using session::Cells;
using session::Coder;
using testing::HasSubstr;

// Of one sequence, whatever n is.
Cells first_cells(size_t n) {
  const Cells all = session::generate_cells(shape(), 0, 700, 7);
  return convert<uint16_t>(all.view().slice(0, n), shape(), Space::cached);
}

class BankTest : public testing::Test {
 protected:
  Store open() const { return Store::open(folder_.file("store")).value(); }
  Bank exact(Store& store) const { return {store, {shape(), nullptr, nullptr}, f16_}; }
  Bank coded(Store& store) const { return {store, {shape(), &codec(), nullptr}, f16_}; }

  static Bank::Kept keep(const Bank& bank, const Cells& cells, const std::string& tenant = "") {
    const auto kept = bank.keep(tenant, cells, cells.count());
    EXPECT_TRUE(kept.ok()) << (kept.ok() ? "" : kept.error().message);
    return *kept;
  }
  static size_t found(const Bank& bank, const Cells& cells, const std::string& tenant = "") {
    return bank.find(tenant, cells.tokens).value().tokens;
  }
  // The first n of them.
  static Result<Cells> read(const Bank& bank, const Cells& cells, size_t n) {
    KVS_ASSIGN(const Match match, bank.find("", cells.tokens));
    Cells back = session::no_cells(shape(), 0, n);
    back.tokens.assign(cells.tokens.begin(), cells.tokens.begin() + ptrdiff_t(n));
    KVS_TRY(bank.read(match, cells.tokens, place_of(back, n)));
    return back;
  }

  const TemporaryFolder folder_ = TemporaryFolder::create("bank-test").value();
  const std::string f16_ = settings_of("f16", "f16");
};

TEST_F(BankTest, AnotherProgramReadsWhatOneKeeps) {
  const Cells cells = first_cells(600);
  {
    Store store = open();
    const Bank::Kept kept = keep(exact(store), cells);
    EXPECT_EQ(kept.stored, 600u);
    EXPECT_EQ(kept.objects, 3u);
    EXPECT_EQ(kept.coded, 600u);
  }
  Store store = open();
  const Bank bank = exact(store);
  EXPECT_EQ(found(bank, cells), 600u);
  for (const size_t n : {1, 255, 256, 257, 600}) {
    session::expect_equal(read(bank, cells, n).value(), first_cells(n));
  }
}

TEST_F(BankTest, AConversationThatGoesOnIsNotCodedAgain) {
  Store store = open();
  const Bank bank = coded(store);
  keep(bank, first_cells(400));
  const Bank::Kept kept = keep(bank, first_cells(560));
  EXPECT_EQ(kept.stored, 560u);
  EXPECT_EQ(kept.coded, 304u) << "the second block and a tail";
  EXPECT_EQ(keep(bank, first_cells(560)).coded, 0u);
  EXPECT_EQ(found(bank, first_cells(700)), 560u);
  const double error = session::relative_error(
      session::all_rows<float>(read(bank, first_cells(560), 560).value(), Kind::key, 1),
      session::all_rows<float>(first_cells(560), Kind::key, 1));
  EXPECT_GT(error, 0.01);
  EXPECT_LT(error, 0.2);
}

TEST_F(BankTest, FewTokensBehindTheLastBlockAreNotKept) {
  Store store = open();
  const Bank bank = exact(store);
  EXPECT_EQ(keep(bank, first_cells(15)).stored, 0u);
  EXPECT_EQ(keep(bank, first_cells(16)).stored, 16u);
  EXPECT_EQ(keep(bank, first_cells(271)).stored, 256u);
}

TEST_F(BankTest, OnlyTheSameModelCodecSettingsAndTenantFindIt) {
  Store store = open();
  const Cells cells = first_cells(300);
  keep(exact(store), cells, "one");
  EXPECT_EQ(found(exact(store), cells, "one"), 300u);
  EXPECT_EQ(found(exact(store), cells, "two"), 0u);
  EXPECT_EQ(found(exact(store), cells), 0u);
  EXPECT_EQ(found(coded(store), cells, "one"), 0u);
  const Coder coder{shape(), nullptr, nullptr};
  EXPECT_EQ(found(Bank(store, coder, settings_of("q8_0", "f16")), cells, "one"), 0u);
  Coder other = coder;
  other.shape.fingerprint[0] = '8';
  EXPECT_EQ(found(Bank(store, other, f16_), cells, "one"), 0u);
}

TEST_F(BankTest, WhatTheModelWroteIsMarked) {
  Store store = open();
  const auto kept = exact(store).keep("", first_cells(600), 300);
  ASSERT_TRUE(kept.ok());
  const auto entries = store.entries().value();
  EXPECT_EQ(entries.size(), 3u);
  for (const Entry& entry : entries) {
    EXPECT_EQ(entry.head.answered, entry.head.first >= 256) << entry.head.first;
  }
}

TEST_F(BankTest, ADamagedObjectIsAMissAndForgotten) {
  Store store = open();
  const Bank bank = exact(store);
  const Cells cells = first_cells(600);
  keep(bank, cells);
  const Match match = bank.find("", cells.tokens).value();
  const std::string name = match.blocks[1].hex();
  const std::string path = folder_.file("store/objects/" + name.substr(0, 2) + "/" + name + ".kvo");
  Bytes bytes = read_file(path).value();
  bytes.back() ^= 1;  // of the cells, which finding does not open
  ASSERT_TRUE(write_file(path, bytes).ok());
  EXPECT_EQ(read(bank, cells, 600).error().kind, ErrorKind::mismatch);
  EXPECT_EQ(found(bank, cells), 256u);
  session::expect_equal(read(bank, cells, 256).value(), first_cells(256));
  EXPECT_EQ(keep(bank, cells).coded, 256u);
  EXPECT_EQ(found(bank, cells), 600u);
}

TEST_F(BankTest, CellsThatCannotBeKeptAreRefused) {
  Store store = open();
  const Bank bank = exact(store);
  const auto refused = [&](const KvView& cells) { return bank.keep("", cells, 0).error().kind; };
  const Cells cells = first_cells(40);
  EXPECT_EQ(refused(cells.view().slice(1, 39)), ErrorKind::usage) << "not from position 0 on";
  Cells broken = cells;
  broken.keys[0].flat()[70] = 0x7c00;  // infinite
  EXPECT_EQ(refused(broken), ErrorKind::numeric);
  const ModelShape sliding = session::sliding_shape();
  const Bank slides(store, {sliding, nullptr, nullptr}, f16_);
  EXPECT_THAT(slides.keep("", session::first_cells(sliding, 40), 0).error().message,
              HasSubstr("sliding window"));
  EXPECT_EQ(store.totals()->objects, 0u);
  const auto more = convert<float>(cells, shape(), Space::cached);
  auto third = more;
  third.keys[0].flat()[0] = 1.f / 3;
  EXPECT_EQ(refused(third), ErrorKind::numeric) << "no f16";
  EXPECT_TRUE(bank.keep("", more, 0).ok());
  EXPECT_EQ(found(bank, cells), 40u);
}

TEST_F(BankTest, APlaceForMoreThanMatchesIsRefused) {
  Store store = open();
  const Bank bank = exact(store);
  keep(bank, first_cells(100));
  EXPECT_EQ(read(bank, first_cells(200), 101).error().kind, ErrorKind::usage);
}

}  // namespace
}  // namespace kvsplice::store
