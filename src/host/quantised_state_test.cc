// llama.cpp states of q8_0 cells: codes, scales, and heads that are turned before they are rounded.
#include <gmock/gmock.h>

#include <cmath>
#include <cstring>

#include "host/session_state.h"
#include "host/state_cells_test.h"

namespace kvsplice::host {
namespace {

using session::Cells;
using session::generate_cells;
using session::no_cells;
using session::small_shape;
using testing::HasSubstr;

TEST(State, NumbersAreNeededForQ8) {
  const ModelShape shape = small_shape();
  Cells cells = generate_cells(shape, 0, 3, 5);
  cells.values[2](1, 7) = 0xfc00;
  EXPECT_THAT(to_state(cells, {}, shape, {.key_type = CellType::q8_0, .value_type = CellType::q8_0})
                  .error()
                  .message,
              HasSubstr("value 7 of the values of layer 2 at position 1 is infinite"));
}

TEST(State, Q8IsCloseAndRotatedAsLlamaDoes) {
  const ModelShape shape = small_shape();
  Cells cells = generate_cells(shape, 0, 5, 2);
  const Bytes bytes =
      to_state(cells, {}, shape, {.key_type = CellType::q8_0, .value_type = CellType::q8_0})
          .value();
  const StateBlob blob = parse_state(bytes).value();
  const Cells back = cells_in(blob, shape, blob.tokens);
  for (Kind kind : {Kind::key, Kind::value}) {
    double error = 0, power = 0;
    for (size_t i = 0; i < back.of(kind)[0].size(); ++i) {
      const double x = from_half(cells.of(kind)[0].flat()[i]);
      error += std::pow(from_half(back.of(kind)[0].flat()[i]) - x, 2);
      power += x * x;
    }
    EXPECT_LT(std::sqrt(error / power), 0.01);
    EXPECT_GT(std::sqrt(error / power), 1e-4) << "nothing was rounded";
  }
  // Heads of 64 are turned: a single value spreads over all codes. Heads of 32 are not.
  for (auto& rows : cells.keys) std::fill(rows.flat().begin(), rows.flat().end(), 0);
  for (auto& rows : cells.values) std::fill(rows.flat().begin(), rows.flat().end(), 0);
  cells.keys[0](0, 3) = cells.values[0](0, 3) = to_half(1);
  const auto codes_used = [&](const StateTarget& target, Kind kind) {
    const Bytes written = to_state(cells, {}, shape, target).value();
    const StateCache cache = parse_state(written)->caches[0];
    const ByteSpan block = (kind == Kind::key ? cache.keys : cache.values)[0].data;
    return 34 - std::count(block.begin(), block.begin() + 34, 0);
  };
  StateTarget target{.key_type = CellType::q8_0, .value_type = CellType::q8_0};
  EXPECT_EQ(codes_used(target, Kind::key), 34);
  EXPECT_LE(codes_used(target, Kind::value), 3);
  target.turns.resize(shape.layers.size());  // as LLAMA_ATTN_ROT_DISABLE wants it
  EXPECT_LE(codes_used(target, Kind::key), 3);
}

// What llama.cpp has quantised comes back to the byte, turned or not.
TEST(State, Q8CodesAndScalesComeBackAsTheyWere) {
  const ModelShape shape = small_shape();
  for (const auto& turns : {std::vector<Turns>(), std::vector<Turns>(shape.layers.size())}) {
    const StateTarget target{
        .key_type = CellType::q8_0, .value_type = CellType::q8_0, .turns = turns};
    const Bytes made = to_state(generate_cells(shape, 0, 3, 2), {}, shape, target).value();
    StateBlob blob = parse_state(made).value();
    // Codes of all sizes, the largest 127, scales of all sizes.
    Random random(5);
    std::vector<Bytes> kept;
    for (auto* layers : {&blob.caches[0].keys, &blob.caches[0].values}) {
      for (StateRows& rows : *layers) {
        Bytes bytes(rows.data.begin(), rows.data.end());
        for (size_t at = 0; at < bytes.size(); at += 34) {
          const double size = std::exp2(random.normal() / 2);
          const uint16_t scale = to_half(float(size / 127));
          std::memcpy(&bytes[at], &scale, 2);
          for (size_t i = 2; i < 34; ++i) bytes[at + i] = uint8_t(int(random.below(255)) - 127);
          bytes[at + 2 + random.below(32)] = 127;
        }
        kept.push_back(std::move(bytes));
        rows.data = kept.back();
      }
    }
    const Bytes wanted = write_state(blob);
    const StateBlob read = parse_state(wanted).value();
    const Cells cells = cells_in(read, shape, read.tokens, turns);
    EXPECT_EQ(to_state(cells, {}, shape, target).value(), wanted);
  }
}

// Heads in which one value outweighs the others, quantised as llama.cpp does: rounding that value
// to f16 moves all of the turned head.
TEST(State, Q8OfUnevenHeadsComesBackAsItWas) {
  Random random(7);
  for (const int dim : {64, 128, 256}) {
    ModelShape shape = small_shape();
    shape.layers.resize(1);
    shape.layers[0] = {0, 1, dim, dim, 0, {}};
    const StateTarget target{.key_type = CellType::q8_0, .value_type = CellType::q8_0};
    constexpr size_t kRows = 200;
    const auto cells = [&] {
      Cells made = no_cells(shape, 0, kRows);
      for (uint16_t& x : made.keys[0].flat()) x = to_half(float(random.normal() / 8));
      for (size_t r = 0; r < kRows; ++r) {
        made.keys[0](r, random.below(size_t(dim))) = to_half(float(20 + 3 * random.normal()));
      }
      return made;
    }();
    // What comes out of the first pass is a state of llama.cpp's kind of blocks.
    const auto again = [&](const Bytes& state) {
      const StateBlob blob = parse_state(state).value();
      return to_state(to_cells(blob, shape, blob.tokens)->cells, {}, shape, target).value();
    };
    const Bytes once = to_state(cells, {}, shape, target).value();
    const Bytes twice = again(once);
    ASSERT_EQ(once.size(), twice.size());
    size_t moved = 0;
    for (size_t i = 0; i < once.size(); ++i) moved += once[i] != twice[i];
    EXPECT_EQ(moved, 0u) << dim;
  }
}

// Newer versions say how heads are turned; of older ones the reader must be told.
TEST(State, TurnsAreThoseTheStateSaysOrTheCallerKnows) {
  const ModelShape shape = small_shape();
  const Cells cells = generate_cells(shape, 0, 5, 2);
  const std::vector<Turns> none(shape.layers.size());
  const auto error_of = [&](const StateTarget& target, std::span<const Turns> told) {
    const Bytes bytes = to_state(cells, {}, shape, target).value();
    const StateBlob blob = parse_state(bytes).value();
    const Cells back = cells_in(blob, shape, blob.tokens, told);
    double error = 0;
    for (size_t i = 0; i < back.keys[0].size(); ++i) {
      const double x = from_half(cells.keys[0].flat()[i]);
      error = std::max(error, std::abs(from_half(back.keys[0].flat()[i]) - x));
    }
    return error;
  };
  for (const auto& written : {std::vector<Turns>(), none}) {
    const bool usual = written.empty();
    const StateTarget older{.key_type = CellType::q8_0,
                            .value_type = CellType::q8_0,
                            .version = kOldest,
                            .turns = written};
    EXPECT_LT(error_of(older, written), 0.1);
    EXPECT_GT(error_of(older, usual ? none : usual_turns(shape)), 0.5);
    const StateTarget newer{.key_type = CellType::q8_0,
                            .value_type = CellType::q8_0,
                            .version = kNewest,
                            .turns = written};
    EXPECT_LT(error_of(newer, written), 0.1);
    EXPECT_LT(error_of(newer, usual ? none : usual_turns(shape)), 0.1);
  }
  // What a state says may be nonsense.
  Bytes bytes = to_state(cells, {}, shape, {.version = kNewest}).value();
  StateBlob blob = parse_state(bytes).value();
  for (const uint32_t side : {3u, 128u, 0x80000000u}) {
    blob.caches[0].turns.keys = side;
    EXPECT_THAT(to_cells(blob, shape, blob.tokens).error().message,
                HasSubstr("legal: 0, and powers of two that divide 64"));
  }
}

}  // namespace
}  // namespace kvsplice::host
