// Models with sliding windows: sessions keep of layers with a window what later tokens can see.
#include <gmock/gmock.h>

#include "core/file.h"
#include "session/fitted_codec_test.h"
#include "session/sliding_cells.h"

namespace kvsplice::session {
namespace {

using testing::HasSubstr;

class SlidingTest : public testing::Test {
 protected:
  Session open() const { return Session::open(file_.path(), coder_).value(); }
  Cells read(size_t first, size_t n) const { return open().read(first, n, {}).value(); }
  void pack_and_compare(const Cells& cells) const {
    ASSERT_TRUE(pack(file_.path(), cells, {}, coder_, {64, 4, 16}, {}).ok());
    const size_t n = cells.count();
    expect_equal(read(0, n), cells);
    EXPECT_EQ(read(0, n).absent, cells.absent);
    EXPECT_EQ(open().outline(0, n)->absent, cells.absent);
  }

  const ModelShape shape_ = sliding_shape();
  const Coder coder_{shape_, nullptr, nullptr};
  const TemporaryFile file_{".kvz"};
};

TEST_F(SlidingTest, SessionsKeepWhatIsThere) {
  for (size_t n : {size_t(3), kWindow, kWindow + 2, size_t(100), size_t(300)}) {
    pack_and_compare(cells_of_context(shape_, n));
  }
}

TEST_F(SlidingTest, RowsTheWindowHasPassedCostNothing) {
  pack_and_compare(cells_of_context(shape_, 300));
  const uint64_t with_gap = SessionReader::open(file_.path())->live_bytes();
  pack_and_compare(first_cells(shape_, 300));
  const uint64_t whole = SessionReader::open(file_.path())->live_bytes();
  EXPECT_NEAR(double(with_gap) / double(whole), (300 + 2 * 50) / 900.0, 0.02);
}

// A place for the rows that are there, and none for those that are not.
TEST_F(SlidingTest, RowsOfTheWindowGoToAPlaceOfTheirOwn) {
  const Cells cells = cells_of_context(shape_, 300);
  ASSERT_TRUE(pack(file_.path(), cells, {}, coder_, {64, 4, 16}, {}).ok());
  for (size_t held : {size_t(0), size_t(20), kWindow, kWindow + 1}) {
    Cells met = no_cells(shape_, 0, 300);
    KvPlace to = place_of(met, 300);
    for (size_t l : {0, 2}) to.keys[l].rows = to.values[l].rows = held;
    const auto done = open().read(0, 300, to, {});
    ASSERT_EQ(done.ok(), held <= kWindow) << held;
    if (!done.ok()) {
      EXPECT_THAT(done.error().message, HasSubstr("no rows of the first 250 tokens"));
      continue;
    }
    EXPECT_EQ(met.keys[1], cells.keys[1]);
    for (size_t r = 0; r < held; ++r) {
      EXPECT_TRUE(std::ranges::equal(met.values[2].row(r), cells.values[2].row(300 - held + r)));
    }
  }
}

// What a context gives need not have a place for absent rows either.
TEST_F(SlidingTest, ViewsMayBeginBehindAbsentRows) {
  const Cells cells = cells_of_context(shape_, 300);
  ASSERT_TRUE(pack(file_.path(), cells, {}, coder_, {64, 4, 16}, {}).ok());
  const Bytes wanted = read_file(file_.path()).value();
  KvView view = cells;
  for (size_t l : {0, 2}) {
    view.keys[l] = view.keys[l].row_range(cells.absent, 300 - cells.absent);
    view.values[l] = view.values[l].row_range(cells.absent, 300 - cells.absent);
  }
  ASSERT_TRUE(pack(file_.path(), view, {}, coder_, {64, 4, 16}, {}).ok());
  EXPECT_TRUE(read_file(file_.path()).value() == wanted);
  view.keys[0] = view.keys[0].row_range(1, 49);
  EXPECT_FALSE(pack(file_.path(), view, {}, coder_, {64, 4, 16}, {}).ok());
}

TEST_F(SlidingTest, ExtendedSessionsHaveWhatTheNextTokenSees) {
  size_t n = 70;
  pack_and_compare(cells_of_context(shape_, n));
  for (size_t more : {1, 20, 60, 200, 9}) {
    const Cells now = cells_of_context(shape_, n + more);
    ASSERT_TRUE(extend(file_.path(), now.view().slice(n, more), {}, coder_, {}).ok());
    n += more;
    const Cells met = read(0, n);
    ASSERT_LE(met.absent, now.absent) << n;
    expect_equal(met.view().slice(now.absent, n - now.absent),
                 now.view().slice(now.absent, n - now.absent));
    EXPECT_EQ(met.keys[1], now.keys[1]);
    EXPECT_TRUE(check_sight(met.absent, n, shape_).ok());
  }
}

TEST_F(SlidingTest, ACodecSeesBlocksWithAndWithout) {
  const codec::Codec codec = fitted(shape_, "klt | step(delta=0.05) | range");
  const Coder coder{shape_, &codec, nullptr};
  const Cells cells = cells_of_context(shape_, 300);
  ASSERT_TRUE(pack(file_.path(), cells, {}, coder, {64, 4, 16}, {}).ok());
  const Cells met = Session::open(file_.path(), coder)->read(0, 300, {}).value();
  EXPECT_EQ(met.absent, cells.absent);
  for (size_t l = 0; l < 3; ++l) {
    const double error =
        relative_error(all_rows<float>(cells, Kind::key, l), all_rows<float>(met, Kind::key, l));
    EXPECT_LT(error, 0.08) << l;
    EXPECT_GT(error, 0.001) << l;
  }
}

}  // namespace
}  // namespace kvsplice::session
