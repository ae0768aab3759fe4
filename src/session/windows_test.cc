// Models with sliding windows: states have two caches, and sessions keep of layers with a window
// what later tokens can see.
#include <gmock/gmock.h>

#include <algorithm>

#include "session/generated_cells.h"
#include "session/state_rows.h"
#include "session/state_target.h"

namespace kvsplice::session {
namespace {

using testing::HasSubstr;

constexpr size_t kWindow = 50;

// Layers 0 and 2 slide.
ModelShape sliding_shape() {
  ModelShape shape = small_shape();
  shape.layers[0].window = shape.layers[2].window = kWindow;
  return shape;
}

// The first n cells of one sequence.
Cells first_cells(const ModelShape& shape, size_t n) {
  return slice(generate_cells(shape, 0, 400, 1), 0, n);
}

// As a context gives them: nothing that has left the window.
Cells cells_of_context(const ModelShape& shape, size_t n) {
  Cells cells = first_cells(shape, n);
  cells.absent = shape.tokens_out_of_sight(n);
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l : {0, 2}) {
      Matrix<uint16_t>& rows = cells.of(kind)[l];
      std::fill_n(rows.data(), cells.absent * rows.cols(), 0);
    }
  }
  return cells;
}

class SlidingTest : public testing::Test {
 protected:
  Cells read(size_t first, size_t n) const {
    return Session::open(file_.path(), coder_)->read(first, n, {}).value();
  }
  void pack_and_compare(const Cells& cells) const {
    ASSERT_TRUE(pack(file_.path(), cells, {}, coder_, {64, 4, 16}, {}).ok());
    expect_equal(read(0, cells.count()), cells);
    EXPECT_EQ(read(0, cells.count()).absent, cells.absent);
  }

  const ModelShape shape_ = sliding_shape();
  const Coder coder_{shape_, nullptr, nullptr};
  const TemporaryFile file_{".kvz"};
};

TEST_F(SlidingTest, StatesHaveTwoCachesAndComeBackToTheBit) {
  for (size_t n : {size_t(0), size_t(1), kWindow, kWindow + 1, size_t(200)}) {
    const Cells cells = cells_of_context(shape_, n);
    for (CellType type : {CellType::f16, CellType::f32}) {
      const Bytes bytes =
          to_state(cells, {}, shape_, {.key_type = type, .value_type = type}).value();
      const StateBlob blob = parse_state(bytes).value();
      ASSERT_EQ(blob.caches.size(), 2u);
      EXPECT_EQ(blob.caches[0].cells(), n);
      EXPECT_EQ(blob.caches[1].cells(), std::min(n, kWindow));
      if (n > 0) {
        EXPECT_EQ(blob.caches[0].keys.size(), 1u);
        EXPECT_EQ(blob.caches[1].keys.size(), 2u);
        EXPECT_EQ(blob.caches[1].positions.front(), int32_t(n - std::min(n, kWindow)));
      }
      const StateCells made = to_cells(blob, shape_, blob.tokens).value();
      expect_equal(made.cells, cells);
      EXPECT_EQ(made.cells.absent, cells.absent);
    }
  }
}

// llama.cpp may keep cells the window has passed; which, depends on the size of its cache.
TEST_F(SlidingTest, CellsBehindTheWindowArePassedOverAndCellsInsideAreNeeded) {
  const size_t n = 200;
  const Cells all = first_cells(shape_, n), wanted = cells_of_context(shape_, n);
  const Bytes state = to_state(wanted, {}, shape_, {}).value();
  StateBlob blob = parse_state(state).value();
  StateCache& sliding = blob.caches[1];
  std::vector<Bytes> kept;
  const auto rebuild = [&](const std::vector<size_t>& positions) {
    kept.clear();
    sliding.positions.assign(positions.begin(), positions.end());
    sliding.keys.clear(), sliding.values.clear();
    for (Kind kind : {Kind::key, Kind::value}) {
      for (size_t l : {0, 2}) {
        ByteWriter rows;
        for (size_t p : positions) rows.put_array(all.of(kind)[l].row(p));
        const size_t bytes = 2 * size_t(shape_.layers[l].width(kind));
        kept.push_back(rows.take());
        (kind == Kind::key ? sliding.keys : sliding.values)
            .push_back({int32_t(CellType::f16), bytes, {}});
      }
    }
    for (size_t i = 0; i < 2; ++i) {
      sliding.keys[i].data = kept[i];
      sliding.values[i].data = kept[2 + i];
    }
  };
  std::vector<size_t> positions = {120, 7, 199};  // two of them passed
  for (size_t p = n - kWindow; p < n - 1; ++p) positions.push_back(p);
  rebuild(positions);
  expect_equal(to_cells(blob, shape_, blob.tokens)->cells, wanted);
  // The oldest is one the next token does not see any more.
  positions.erase(std::find(positions.begin(), positions.end(), n - kWindow));
  rebuild(positions);
  EXPECT_EQ(to_cells(blob, shape_, blob.tokens)->cells.absent, n - kWindow + 1);
  positions.erase(std::find(positions.begin(), positions.end(), n - 10));
  rebuild(positions);
  EXPECT_THAT(to_cells(blob, shape_, blob.tokens).error().message,
              HasSubstr("no cell is at position 190"));
  positions.push_back(199);
  rebuild(positions);
  EXPECT_THAT(to_cells(blob, shape_, blob.tokens).error().message, HasSubstr("each once"));
  blob.caches.pop_back();
  EXPECT_THAT(to_cells(blob, shape_, blob.tokens).error().message,
              HasSubstr("the state has 1 caches, the model 2"));
}

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

TEST_F(SlidingTest, ExtendedSessionsHaveWhatTheNextTokenSees) {
  size_t n = 70;
  pack_and_compare(cells_of_context(shape_, n));
  for (size_t more : {1, 20, 60, 200, 9}) {
    const Cells now = cells_of_context(shape_, n + more);
    ASSERT_TRUE(extend(file_.path(), slice(now, n, more), {}, coder_, {}).ok());
    n += more;
    const Cells met = read(0, n);
    ASSERT_LE(met.absent, now.absent) << n;
    expect_equal(slice(met, now.absent, n - now.absent), slice(now, now.absent, n - now.absent));
    EXPECT_EQ(met.keys[1], now.keys[1]);
    EXPECT_TRUE(to_state(met, {}, shape_, {}).ok());
  }
}

TEST_F(SlidingTest, APrefixIsRefusedUnlessItsWindowIsThere) {
  pack_and_compare(cells_of_context(shape_, 300));
  const auto state_of = [&](size_t n) { return to_state(read(0, n), {}, shape_, {}); };
  EXPECT_THAT(state_of(298).error().message, HasSubstr("no rows of tokens 249 ... 249"));
  EXPECT_THAT(state_of(20).error().message, HasSubstr("no rows of tokens 0 ... 19"));
  EXPECT_TRUE(state_of(299).ok()) << "its next token sees 250 and all behind";
  EXPECT_TRUE(state_of(300).ok());
}

// A session file without a pending token leaves the newest cell out, and can be read again.
TEST_F(SlidingTest, SessionFilesLeaveTheNewestCellOut) {
  for (size_t n : {size_t(1), kWindow, kWindow + 1, size_t(200)}) {
    const Cells cells = cells_of_context(shape_, n);
    const StateTarget target{.form = StateForm::session_file};
    const Bytes bytes = to_state(cells, {}, shape_, target).value();
    const StateBlob blob = parse_state(bytes, {.caches = 2}).value();
    EXPECT_EQ(blob.tokens.size(), n);
    const StateCells made = to_cells(blob, shape_, blob.tokens).value();
    ASSERT_EQ(made.cells.count(), n - 1);
    EXPECT_EQ(made.pending, std::vector<int32_t>{cells.tokens.back()});
    expect_equal(made.cells, slice(cells, 0, n - 1));
    EXPECT_EQ(to_state(made.cells, made.pending, shape_, target).value(), bytes);
  }
}

TEST_F(SlidingTest, ACodecSeesBlocksWithAndWithout) {
  class Rows : public codec::RowSource {
   public:
    explicit Rows(codec::CacheBlock block) : block_(std::move(block)) {}
    std::span<const int32_t> tokens() const override { return block_.tokens; }
    std::span<const int32_t> positions() const override { return block_.positions; }
    Result<Matrix<float>> read(Kind kind, int layer) const override {
      return block_.of(kind)[layer];
    }

   private:
    codec::CacheBlock block_;
  };
  auto codec =
      codec::Codec::create(codec::parse_codec("klt | step(delta=0.05) | range").value(), shape_)
          .value();
  const Rows rows(to_block(generate_cells(shape_, 0, 400, 99), shape_));
  ASSERT_TRUE(codec.fit(rows, nullptr, {}).ok());
  const Coder coder{shape_, &codec, nullptr};
  const Cells cells = cells_of_context(shape_, 300);
  ASSERT_TRUE(pack(file_.path(), cells, {}, coder, {64, 4, 16}, {}).ok());
  const Cells met = Session::open(file_.path(), coder)->read(0, 300, {}).value();
  EXPECT_EQ(met.absent, cells.absent);
  for (size_t l = 0; l < 3; ++l) {
    double error = 0, power = 0;
    for (size_t i = 0; i < cells.keys[l].size(); ++i) {
      const double x = from_half(cells.keys[l].flat()[i]);
      error += std::pow(from_half(met.keys[l].flat()[i]) - x, 2);
      power += x * x;
    }
    EXPECT_LT(std::sqrt(error / power), 0.08) << l;
    EXPECT_GT(std::sqrt(error / power), 0.001) << l;
  }
}

}  // namespace
}  // namespace kvsplice::session
