// Kernels against plain arithmetic, cells to the bit.
#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cmath>
#include <numbers>

#include "codec/quantise/exact/cell_code.h"
#include "codec/quantise/exact/columns.h"
#include "core/half.h"
#include "core/random.h"
#include "fit/stage_fit.h"

namespace kvsplice::codec {

StageInfo exact_stage();

namespace exact {
namespace {

std::vector<int16_t> integers(size_t n, int largest, uint64_t seed) {
  Random random(seed);
  std::vector<int16_t> list(n);
  for (int16_t& v : list) v = static_cast<int16_t>(int(random.below(2 * largest + 1)) - largest);
  return list;
}

TEST(ExactWeigh, ReferenceIsTheSumOfProducts) {
  const size_t pairs = 3, rows = 2, stride = 8;
  const auto tile = integers(pairs * 2 * kTile, kLargestInput, 1),
             weights = integers(rows * stride, 127, 2);
  std::vector<int32_t> sums(rows * kTile, 5);
  weigh_reference(tile.data(), pairs, weights.data(), stride, rows, sums.data());
  for (size_t r = 0; r < rows; ++r) {
    for (size_t t = 0; t < kTile; ++t) {
      int64_t sum = 5;
      for (size_t p = 0; p < pairs; ++p) {
        sum += int64_t{weights[r * stride + 2 * p]} * tile[(p * kTile + t) * 2];
        sum += int64_t{weights[r * stride + 2 * p + 1]} * tile[(p * kTile + t) * 2 + 1];
      }
      EXPECT_EQ(sums[r * kTile + t], sum);
    }
  }
}

TEST(ExactWeigh, EverySimdTargetGivesTheSumsOfTheReference) {
  const auto targets = hwy::SupportedAndGeneratedTargets();
  EXPECT_FALSE(targets.empty());
  for (int64_t target : targets) {
    hwy::SetSupportedTargetsForTest(target);
    for (size_t pairs : {0, 1, 7, 300}) {
      for (size_t rows : {0, 1, 2, 3, 4, 7, 9}) {
        const size_t stride = 2 * pairs + 6;
        auto tile = integers((pairs + 1) * 2 * kTile, kLargestInput, pairs);
        auto weights = integers(rows * stride + 1, 127, rows);
        if (pairs == 7) {  // the largest magnitudes, of one sign
          std::fill(tile.begin(), tile.end(), -kLargestInput);
          std::fill(weights.begin(), weights.end(), 127);
        }
        std::vector<int32_t> wanted(rows * kTile + 1, 3), got = wanted;
        weigh_reference(tile.data(), pairs, weights.data(), stride, rows, wanted.data());
        weigh(tile.data(), pairs, weights.data(), stride, rows, got.data());
        EXPECT_EQ(got, wanted) << hwy::TargetName(target) << ", " << pairs << ", " << rows;
      }
    }
  }
  hwy::SetSupportedTargetsForTest(0);
}

// Every library's cosine must round to the same integers.
TEST(ExactTurns, TableIsFarFromTies) {
  for (int i = 0; i <= 1024; ++i) {
    const double v = 16384 * std::cos(2 * std::numbers::pi * i / 1024);
    EXPECT_GT(std::abs(v - std::floor(v) - 0.5), 1e-6) << i;
    EXPECT_EQ(turn_of(static_cast<uint32_t>(i) << 22).cosine, std::lround(v));
  }
}

TEST(ExactTurns, AreSinesAndCosines) {
  Random random(3);
  double worst = 0;
  for (int i = 0; i < 10000; ++i) {
    const auto angle = static_cast<uint32_t>(random.below(uint64_t{1} << 32));
    const double a = 2 * std::numbers::pi * angle / 4294967296.0;
    const Turn turn = turn_of(angle);
    worst = std::max({worst, std::abs(turn.cosine - 16384 * std::cos(a)),
                      std::abs(turn.sine - 16384 * std::sin(a))});
  }
  EXPECT_LT(worst, 1.2);
  EXPECT_GT(worst, 0.5);
}

TEST(ExactCells, EveryFiniteCellComesBackOnEveryGrid) {
  for (int grid = kLeastGrid; grid <= kLargestGrid; ++grid) {
    BitWriter bits;
    std::vector<int32_t> places;
    for (uint32_t half = 0; half < 0x10000; ++half) {
      if ((half & 0x7fff) >= 0x7c00) continue;
      const int32_t place = put_cell(static_cast<uint16_t>(half), grid, bits);
      const double x = from_half(static_cast<uint16_t>(half)), step = std::ldexp(1, grid);
      const double bucket = std::floor(std::abs(x) / step);
      ASSERT_EQ(place, half >> 15 ? -1 - bucket : bucket) << half;
      places.push_back(place);
    }
    const Bytes bytes = bits.finish();
    BitReader reader(bytes);
    size_t i = 0;
    for (uint32_t half = 0; half < 0x10000; ++half) {
      if ((half & 0x7fff) >= 0x7c00) continue;
      ASSERT_EQ(get_cell(places[i++], grid, reader), half) << "grid " << grid;
    }
    EXPECT_TRUE(reader.at_end());
  }
}

TEST(ExactCells, PlacesBeyondHalfPrecisionAreNone) {
  const Bytes zeros(16);
  for (int64_t place : {int64_t{1} << 16, -(int64_t{1} << 16) - 1, int64_t{1} << 40}) {
    BitReader bits(zeros);
    EXPECT_FALSE(get_cell(place, 0, bits).has_value()) << place;
  }
  BitReader bits(zeros);
  EXPECT_EQ(get_cell((1 << 16) - 32, 0, bits), to_half(65504));
}

// Rows whose second half is a linear function of the first, and keys that are turned.
struct Made {
  Matrix<float> keys, values;
  std::vector<int32_t> positions;
};

Unit key_unit() {
  Unit unit{Kind::key, 0, {8, 8}, {}};
  unit.rope.frequency = {1, 0.1f, 0.01f};  // the last two columns of a head do not turn
  return unit;
}
const Unit kValues{Kind::value, 0, {7}, {}};

Made generate(size_t rows) {
  Made made{Matrix<float>(rows, 16), Matrix<float>(rows, 7), {}};
  Random random(5);
  for (size_t r = 0; r < rows; ++r) {
    made.positions.push_back(static_cast<int32_t>(r * 3));
    for (float& x : made.keys.row(r)) x = static_cast<float>(random.normal());
    for (size_t c = 0; c < 7; ++c) {
      made.values(r, c) = 3 + 2 * made.keys(r, c) - made.keys(r, c + 8) +
                          0.05f * static_cast<float>(random.normal());
    }
  }
  const Unit unit = key_unit();
  unit.rope.apply(made.keys, 8, made.positions);
  for (auto* m : {&made.keys, &made.values}) {
    for (float& x : m->flat()) x = from_half(to_half(x));
  }
  return made;
}

const ModelShape kShape = [] {
  LayerShape layer;
  layer.kv_heads = 2;
  layer.key_dim = 8;
  layer.rope = key_unit().rope;
  ModelShape shape;
  shape.layers = {layer};
  return shape;
}();

CodeContext context_of(const Made& made, bool with_keys) {
  CodeContext context{kValues, {}, made.positions};
  context.shape = &kShape;
  if (with_keys) context.history = {{Kind::key, 0, made.keys}};
  return context;
}

std::unique_ptr<Stage> fitted(const Matrix<float>& rows, const CodeContext& context) {
  Shared shared;
  FitContext with_shared{context};
  with_shared.shared = &shared;
  return fit_stage("exact", {}, {rows, {}, false, 0}, with_shared).value();
}

Bytes encode(const Stage& stage, Rows& rows, const CodeContext& context) {
  ByteWriter side;
  const auto done = stage.encode(rows, context, side);
  EXPECT_TRUE(done.ok()) << done.error().message;
  return side.take();
}

TEST(Exact, KeepsEveryBitOnEveryTarget) {
  const Made made = generate(403);
  const CodeContext context = context_of(made, true);
  const auto stage = fitted(made.values, context);
  Matrix<float> odd = made.values;
  odd(3, 1) = -0.f;
  odd(4, 2) = 65504;
  odd(5, 3) = -0x1p-24f;
  odd(6, 4) = 0;
  Rows first{odd, {}, false, 0};
  const Bytes side = encode(*stage, first, context);
  for (int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    Rows rows{odd, {}, false, 0};
    EXPECT_EQ(encode(*stage, rows, context), side);
    EXPECT_EQ(rows.codes, first.codes);
    ByteReader reader(side);
    const auto done = stage->decode(rows, 403, context, reader);
    ASSERT_TRUE(done.ok()) << done.error().message;
    for (size_t i = 0; i < odd.size(); ++i) {
      ASSERT_EQ(to_half(rows.values.flat()[i]), to_half(odd.flat()[i])) << i;
    }
  }
  hwy::SetSupportedTargetsForTest(0);
}

// Values follow from keys turned by their positions: only noise of 0.05 is left of a deviation of
// 2.2, five and a half bits, and the grid is a quarter of it.
TEST(Exact, SeesThroughRotation) {
  const Made made = generate(2000);
  const CodeContext context = context_of(made, true);
  const auto stage = fitted(made.values, context);
  Rows rows{made.values, {}, false, 0};
  encode(*stage, rows, context);
  double squares = 0;
  for (int32_t code : rows.codes.flat()) squares += double(code) * code;
  const double rms = std::sqrt(squares / double(rows.codes.size()));
  EXPECT_GT(rms, 2.5);
  EXPECT_LT(rms, 6.5);
  const auto grid = stage->save().at("grid").values;
  for (size_t c = 0; c < 7; ++c) EXPECT_LE(grid[c], -5) << c;
}

TEST(Exact, ColumnsPredictEachOther) {
  Made made = generate(2000);
  for (size_t r = 0; r < 2000; ++r) made.values(r, 5) = from_half(to_half(made.values(r, 0) / 2));
  const CodeContext context = context_of(made, false);
  const auto stage = fitted(made.values, context);
  const auto grid = stage->save().at("grid").values;
  EXPECT_GE(grid[0], -2);
  EXPECT_LE(grid[5], -7);
}

TEST(Exact, DamagedBitsAreAnErrorOrOtherCells) {
  const Made made = generate(50);
  const CodeContext context = context_of(made, false);
  const auto stage = fitted(made.values, context);
  Rows rows{made.values, {}, false, 0};
  const Bytes side = encode(*stage, rows, context);
  const Matrix<int32_t> codes = rows.codes;
  for (size_t size : {size_t{0}, side.size() / 2, side.size() - 1}) {
    Rows again{{}, codes, true, 0};
    ByteReader reader(ByteSpan(side).first(size));
    EXPECT_FALSE(stage->decode(again, 50, context, reader).ok()) << size;
  }
  for (int32_t huge : {1 << 30, -(1 << 30)}) {
    Rows again{{}, codes, true, 0};
    again.codes(7, 2) = huge;
    ByteReader reader(side);
    EXPECT_FALSE(stage->decode(again, 50, context, reader).ok());
  }
}

TEST(Exact, OtherInputsThanFittedForAreRefused) {
  const Made made = generate(100);
  const auto stage = fitted(made.values, context_of(made, true));
  Rows rows{made.values, {}, false, 0};
  ByteWriter side;
  EXPECT_FALSE(stage->encode(rows, context_of(made, false), side).ok());
}

TEST(Exact, WeightsThatCouldOverflowAreRefused) {
  const Made made = generate(100);
  const auto stage = fitted(made.values, context_of(made, false));
  State state = stage->save();
  const size_t pairs = 5000;
  state["exponents"] = {{pairs}, std::vector<float>(pairs), Storage::i8};
  state["weights"] = {{8, 2 * pairs}, std::vector<float>(16 * pairs, 127), Storage::i8};
  const auto loaded = exact_stage().make({}, 1).value()->load(state, 7);
  ASSERT_FALSE(loaded.ok());
  EXPECT_NE(loaded.error().message.find("too many"), std::string::npos) << loaded.error().message;
}

}  // namespace
}  // namespace exact
}  // namespace kvsplice::codec
