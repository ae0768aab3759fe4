// Cells are held once on their way into a session and out of it: beside them there is room for what
// few blocks need.
#include <gtest/gtest.h>

#include "allocations.h"
#include "core/threads.h"
#include "host/session_state.h"
#include "host/state_rows.h"
#include "session/generated_cells.h"

namespace kvsplice::session {
namespace {

using memory::PeakMemory;

constexpr size_t kTokens = 1024;
constexpr double kBeside = 0.25;  // of the cells' bytes

// 30 layers of 192 keys and 192 values, as SmolLM2-135M has them.
ModelShape wide_shape() {
  ModelShape shape = small_shape();
  LayerShape layer = shape.layers[0];
  layer.kv_heads = 3;
  layer.key_dim = layer.value_dim = 64;
  shape.layers.assign(30, layer);
  for (size_t l = 0; l < shape.layers.size(); ++l) shape.layers[l].layer = static_cast<int>(l);
  return shape;
}

Cells patterned_cells(const ModelShape& shape) {
  Cells cells = no_cells(shape, 0, kTokens);
  for (Kind kind : {Kind::key, Kind::value}) {
    for (auto& rows : cells.of(kind)) {
      for (size_t i = 0; i < rows.size(); ++i) {
        rows.flat()[i] = static_cast<uint16_t>(0x3000 + i * i % 4093);
      }
    }
  }
  return cells;
}

class Peak : public testing::Test {
 protected:
  Peak() : before_(thread_count()) { set_thread_count(2); }
  ~Peak() override { set_thread_count(before_); }

  const ModelShape shape_ = wide_shape();
  const double bytes_ = double(kTokens * shape_.f16_bytes_per_token());
  const Coder coder_{shape_, nullptr, nullptr};
  const PackOptions options_{64, 4, 32};
  const TemporaryFile file_{".kvz"};
  const int before_;
};

TEST_F(Peak, OfPackingAndRestoringIsLittleMoreThanTheCells) {
  {
    const Cells cells = patterned_cells(shape_);
    const Bytes state = host::to_state(cells, {}, shape_, {}).value();
    const PeakMemory peak;  // the state is held by others
    const host::StateBlob blob = host::parse_state(state, host::hints_of(shape_)).value();
    const host::StateCells made = host::to_cells(blob, shape_, blob.tokens).value();
    ASSERT_TRUE(pack(file_.path(), made.cells, {}, coder_, options_, {}).ok());
    EXPECT_LT(double(peak.bytes()), kBeside * bytes_);
  }
  const Session session = Session::open(file_.path(), coder_).value();
  {
    const PeakMemory peak;
    const auto read = session.read(0, kTokens, {});
    EXPECT_LT(double(peak.bytes()), (1 + kBeside) * bytes_);
    EXPECT_GE(double(peak.bytes()), bytes_);
  }
  const PeakMemory peak;
  const auto state = host::to_state(session, kTokens, {}, shape_, {}, true, {});
  EXPECT_LT(double(peak.bytes()), (1 + kBeside) * bytes_);
  EXPECT_TRUE(state->bytes ==
              host::to_state(session.read(0, kTokens, {}).value(), {}, shape_, {}).value());
}

}  // namespace
}  // namespace kvsplice::session
