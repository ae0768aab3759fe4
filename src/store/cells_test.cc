#include "store/cells.h"

#include <gmock/gmock.h>

#include "session/generated_cells.h"
#include "store/fitted_test.h"

namespace kvsplice::store {
namespace {

using session::Cells;
using session::Coder;

constexpr Exact kExact{4, 32};

Bytes written(const Cells& cells, bool tail, const Coder& coder) {
  return write_cells(cells, tail, coder, kExact).value();
}

// Cells of these objects, one behind the other, of `n` tokens.
Cells restored(const std::vector<std::pair<Cells, Bytes>>& objects, size_t n, const Coder& coder) {
  Cells all = session::no_cells(shape(), 0, n);
  for (const auto& [cells, bytes] : objects) {
    const auto stored =
        StoredCells::parse(bytes, cells.tokens, size_t(cells.positions.front())).value();
    EXPECT_TRUE(stored.decode(coder, place_of(all, n)).ok());
  }
  return all;
}

double error_of(const Cells& a, const Cells& b, size_t first, size_t n) {
  return session::relative_error(session::all_rows<float>(KvView(a).slice(first, n), Kind::key, 1),
                                 session::all_rows<float>(KvView(b).slice(first, n), Kind::key, 1));
}

TEST(StoredCellsTest, SinksAndTheNewestOfATailAreExact) {
  const Coder coder{shape(), &codec(), nullptr};
  const Cells first = session::generate_cells(shape(), 0, 128, 1);
  const Cells tail = session::generate_cells(shape(), 128, 100, 1);
  const Cells back = restored(
      {{first, written(first, false, coder)}, {tail, written(tail, true, coder)}}, 228, coder);
  Cells both = session::no_cells(shape(), 0, 228);
  put(both, 0, first, 0, 128);
  put(both, 128, tail, 0, 100);
  EXPECT_EQ(error_of(both, back, 0, 4), 0);
  EXPECT_EQ(error_of(both, back, 196, 32), 0);
  for (const auto& [from, n] : {std::pair(4, 124), std::pair(128, 68)}) {
    const double error = error_of(both, back, size_t(from), size_t(n));
    EXPECT_GT(error, 0.01) << "coded, not exact";
    EXPECT_LT(error, 0.2);
  }
}

TEST(StoredCellsTest, WithoutACodecEverythingIsExact) {
  const Coder coder{shape(), nullptr, nullptr};
  const Cells block = session::generate_cells(shape(), 0, 64, 2);
  const Cells back = restored({{block, written(block, false, coder)}}, 64, coder);
  EXPECT_EQ(error_of(block, back, 0, 64), 0);
}

TEST(StoredCellsTest, WhatLiesBehindThePlaceIsDropped) {
  const Coder coder{shape(), &codec(), nullptr};
  const Cells first = session::generate_cells(shape(), 0, 64, 3);
  const Cells second = session::generate_cells(shape(), 64, 64, 3);
  const std::vector<std::pair<Cells, Bytes>> objects = {{first, written(first, false, coder)},
                                                        {second, written(second, false, coder)}};
  const Cells all = restored(objects, 128, coder);
  for (const size_t n : {3, 64, 65, 100}) {
    EXPECT_EQ(error_of(all, restored(objects, n, coder), 0, n), 0) << n;
  }
}

TEST(StoredCellsTest, ShortObjectsAreAllSinksOrAllWindow) {
  const Coder coder{shape(), &codec(), nullptr};
  for (const size_t n : {1, 3, 4, 5, 35, 36, 37}) {
    const Cells tail = session::generate_cells(shape(), 0, n, 4);
    const Cells back = restored({{tail, written(tail, true, coder)}}, n, coder);
    const double error = error_of(tail, back, 0, n);
    EXPECT_EQ(error == 0, n <= 36) << n;
  }
}

TEST(StoredCellsTest, BytesThatCannotBeAreRefused) {
  const Coder coder{shape(), &codec(), nullptr};
  const Cells block = session::generate_cells(shape(), 0, 40, 5);
  const Bytes bytes = written(block, true, coder);
  for (size_t n = 0; n < bytes.size(); n += 7) {
    EXPECT_FALSE(StoredCells::parse(ByteSpan(bytes).first(n), block.tokens, 0).ok()) << n;
  }
  for (const size_t tokens : {39, 41}) {
    const std::vector<int32_t> other(tokens, 1);
    EXPECT_FALSE(StoredCells::parse(bytes, other, 0).ok()) << tokens;
  }
  Bytes kind = bytes;
  kind[0] = 3;  // an index
  EXPECT_FALSE(StoredCells::parse(kind, block.tokens, 0).ok());
  // Coded cells, and no codec to read them.
  Cells all = session::no_cells(shape(), 0, 40);
  const auto stored = StoredCells::parse(bytes, block.tokens, 0).value();
  EXPECT_FALSE(stored.decode({shape(), nullptr, nullptr}, place_of(all, 40)).ok());
}

}  // namespace
}  // namespace kvsplice::store
