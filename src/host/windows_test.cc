// States of models with sliding windows: they have two caches.
#include <gmock/gmock.h>

#include <algorithm>

#include "host/session_state.h"
#include "host/state_rows.h"
#include "session/sliding_cells.h"

namespace kvsplice::host {
namespace {

using session::Cells;
using session::cells_of_context;
using session::expect_equal;
using session::first_cells;
using session::kWindow;
using testing::HasSubstr;

class SlidingStates : public testing::Test {
 protected:
  const ModelShape shape_ = session::sliding_shape();
};

TEST_F(SlidingStates, StatesHaveTwoCachesAndComeBackToTheBit) {
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
TEST_F(SlidingStates, CellsBehindTheWindowArePassedOverAndCellsInsideAreNeeded) {
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

TEST_F(SlidingStates, APrefixIsRefusedUnlessItsWindowIsThere) {
  const session::TemporaryFile file(".kvz");
  const session::Coder coder{shape_, nullptr, nullptr};
  const Cells cells = cells_of_context(shape_, 300);
  ASSERT_TRUE(session::pack(file.path(), cells, {}, coder, {64, 4, 16}, {}).ok());
  const auto session = session::Session::open(file.path(), coder).value();
  const auto state_of = [&](size_t n) -> Result<Bytes> {
    KVS_ASSIGN(SessionState state, to_state(session, n, {}, shape_, {}, false, {}));
    const auto same = to_state(session.read(0, n, {}).value(), {}, shape_, {});
    EXPECT_TRUE(same.ok() && *same == state.bytes);
    return std::move(state.bytes);
  };
  EXPECT_THAT(state_of(298).error().message, HasSubstr("no rows of tokens 249 ... 249"));
  EXPECT_THAT(state_of(20).error().message, HasSubstr("no rows of tokens 0 ... 19"));
  EXPECT_TRUE(state_of(299).ok()) << "its next token sees 250 and all behind";
  EXPECT_TRUE(state_of(300).ok());
}

// A session file without a pending token leaves the newest cell out, and can be read again.
TEST_F(SlidingStates, SessionFilesLeaveTheNewestCellOut) {
  for (size_t n : {size_t(1), kWindow, kWindow + 1, size_t(200)}) {
    const Cells cells = cells_of_context(shape_, n);
    const StateTarget target{.form = StateForm::session_file};
    const Bytes bytes = to_state(cells, {}, shape_, target).value();
    const StateBlob blob = parse_state(bytes, {.caches = 2}).value();
    EXPECT_EQ(blob.tokens.size(), n);
    const StateCells made = to_cells(blob, shape_, blob.tokens).value();
    ASSERT_EQ(made.cells.count(), n - 1);
    EXPECT_EQ(made.pending, std::vector<int32_t>{cells.tokens.back()});
    expect_equal(made.cells, cells.view().slice(0, n - 1));
    EXPECT_EQ(to_state(made.cells, made.pending, shape_, target).value(), bytes);
  }
}

}  // namespace
}  // namespace kvsplice::host
