// Values that are not numbers, bytes that are not a block, state that is not a codec's.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "every_variant.h"

namespace kvsplice::codec {
namespace {

constexpr float kNotFinite[] = {std::numeric_limits<float>::quiet_NaN(),
                                std::numeric_limits<float>::infinity(),
                                -std::numeric_limits<float>::infinity()};

class Hostile : public EveryVariant {};

TEST_P(Hostile, ValuesThatAreNotFiniteAreRefusedByPlace) {
  for (float bad : kNotFinite) {
    for (Kind kind : {Kind::key, Kind::value}) {
      KvBlock<float> block = generate_block(usual_shape(), 8, 2);
      block.of(kind)[1](5, 3) = bad;
      for (const Error& error : {codec().encode(block, &embeddings_).error(),
                                 codec().roundtrip(block, &embeddings_, nullptr).error()}) {
        EXPECT_EQ(error.kind, ErrorKind::numeric);
        EXPECT_NE(error.message.find("layer 1"), std::string::npos) << error.message;
        EXPECT_NE(error.message.find("row 5, column 3"), std::string::npos) << error.message;
      }
    }
  }
}

bool all_finite(const KvBlock<float>& block) {
  for (Kind kind : {Kind::key, Kind::value}) {
    for (const auto& rows : block.of(kind)) {
      for (float v : rows.flat()) {
        if (!std::isfinite(v)) return false;
      }
    }
  }
  return true;
}

TEST_P(Hostile, HugeValuesAreRefusedOrComeBackFinite) {
  for (float huge : {1e3f, 65504.f, 1e30f}) {
    KvBlock<float> block = generate_block(usual_shape(), 8, 2);
    block.keys[0](2, 1) = huge;
    const auto bytes = codec().encode(block, &embeddings_);
    if (!bytes.ok()) {
      EXPECT_GE(huge, 65504.f) << bytes.error().message;
      EXPECT_EQ(bytes.error().kind, ErrorKind::numeric) << bytes.error().message;
      continue;
    }
    const auto back = decode(*bytes, block);
    ASSERT_TRUE(back.ok()) << huge << ": " << back.error().message;
    EXPECT_TRUE(all_finite(*back)) << huge;
  }
}

TEST_P(Hostile, TruncatedBytesAreAnError) {
  const KvBlock<float> block = generate_block(usual_shape(), 12, 3);
  const Bytes bytes = encode(block);
  const size_t step = std::max<size_t>(1, bytes.size() / 100);
  for (size_t size = 0; size < bytes.size(); size += step) {
    EXPECT_FALSE(decode(ByteSpan(bytes).first(size), block).ok()) << size << " of " << bytes.size();
  }
  Bytes longer = bytes;
  longer.push_back(0);
  EXPECT_FALSE(decode(longer, block).ok());
}

void expect_shape_of(const KvBlock<float>& wanted, const KvBlock<float>& block) {
  for (Kind kind : {Kind::key, Kind::value}) {
    ASSERT_EQ(block.of(kind).size(), wanted.of(kind).size());
    for (size_t l = 0; l < wanted.of(kind).size(); ++l) {
      ASSERT_EQ(block.of(kind)[l].rows(), wanted.of(kind)[l].rows());
      ASSERT_EQ(block.of(kind)[l].cols(), wanted.of(kind)[l].cols());
    }
  }
}

TEST_P(Hostile, FlippedBitsGiveAnErrorOrABlockOfTheRightShape) {
  const KvBlock<float> block = generate_block(usual_shape(), 12, 3);
  const Bytes bytes = encode(block);
  Random random(4);
  for (int round = 0; round < 300; ++round) {
    Bytes damaged = bytes;
    // Half of them near the front, where the lengths are.
    const size_t range = round % 2 == 0 ? bytes.size() : std::min<size_t>(bytes.size(), 64);
    for (int flips = 1 + round % 3; flips > 0; --flips) {
      damaged[random.below(range)] ^= uint8_t(1) << random.below(8);
    }
    const auto back = decode(damaged, block);
    if (!back.ok()) {
      EXPECT_FALSE(back.error().message.empty());
      continue;
    }
    expect_shape_of(block, *back);
  }
}

TEST_P(Hostile, WrongNumberOfTokensIsAnError) {
  const KvBlock<float> block = generate_block(usual_shape(), 12, 3),
                       longer = generate_block(usual_shape(), 200, 3);
  EXPECT_FALSE(decode(encode(block), longer).ok());
}

// Calls body(stage, its text, the width it receives) for every stage of every unit of a codec.
template <class Body>
void for_stages(const Codec& codec, const Body& body) {
  for (const UnitCoder& unit : codec.units()) {
    size_t width = unit.unit().width();
    for (size_t s = 0; s < unit.stages().size(); ++s) {
      body(*unit.stages()[s], unit.pipeline().text[s], width);
      width = unit.stages()[s]->output_width(width);
    }
  }
}

Result<> load_again(const StageText& text, const State& state, size_t width) {
  auto stage = find_stage(text.name)->make(text.params, find_stage(text.name)->version).value();
  return stage->load(state, width);
}

const StageCase& case_of(const StageText& text) {
  const std::string name = find_stage(text.name)->name;
  const auto& cases = stage_cases();
  return *std::find_if(cases.begin(), cases.end(), [&](const auto& c) { return c.stage == name; });
}

TEST_P(Hostile, DamagedStateIsRefused) {
  for_stages(codec(), [](const Stage& stage, const StageText& text, size_t width) {
    const std::vector<std::string>& optional = case_of(text).optional_arrays;
    const State good = stage.save();
    const auto same = load_again(text, good, width);
    EXPECT_TRUE(same.ok()) << text.name << ": " << same.error().message;
    for (const auto& [name, array] : good) {
      State bad = good;
      bad.erase(name);
      const bool may_lack = std::count(optional.begin(), optional.end(), name) > 0;
      EXPECT_EQ(load_again(text, bad, width).ok(), may_lack) << text.name << " without " << name;
      bad = good;
      bad[name].values.pop_back();
      EXPECT_FALSE(load_again(text, bad, width).ok()) << text.name << ", short " << name;
      bad = good;
      bad[name].dims.push_back(2);
      EXPECT_FALSE(load_again(text, bad, width).ok()) << text.name << ", another shape of " << name;
      bad = good;
      bad[name].values[array.values.size() / 2] = kNotFinite[0];
      EXPECT_FALSE(load_again(text, bad, width).ok()) << text.name << ", NaN in " << name;
    }
    // An extent of one may as well belong to a scalar.
    const bool knows_width =
        width > 1 && std::any_of(good.begin(), good.end(), [&](const auto& entry) {
          return std::count(entry.second.dims.begin(), entry.second.dims.end(), width) > 0;
        });
    if (knows_width) {
      EXPECT_FALSE(load_again(text, good, width + 1).ok()) << text.name << ", one column more";
    }
  });
}

// Finite nonsense may be loaded, but then coding with it must end in an error or a result.
TEST_P(Hostile, StateOfAbsurdNumbersDoesNoHarm) {
  const KvBlock<float> block = generate_block(usual_shape(), 6, 3);
  const CodecText text = codec().text();
  for (float absurd : {0.f, -1.f, 1e38f, -1e38f, 1e-38f}) {
    auto units = Codec::make_units(text, usual_shape()).value();
    for (size_t u = 0; u < units.size(); ++u) {
      for (size_t s = 0; s < units[u].pipeline().size(); ++s) {
        const State good = codec().units()[u].stages()[s]->save();
        ASSERT_TRUE(units[u].load(s, good).ok());
        State state = good;
        for (auto& [name, array] : state) {
          for (size_t i = 0; i < array.values.size(); i += 3) array.values[i] = absurd;
        }
        const auto loaded = units[u].load(s, state);
        if (loaded.ok()) continue;
        EXPECT_EQ(loaded.error().kind, ErrorKind::format) << loaded.error().message;
        const State kept = units[u].stages()[s]->save();
        for (const auto& [name, array] : good) {
          EXPECT_EQ(kept.at(name).values, array.values) << "a refused load has changed " << name;
        }
      }
    }
    const Codec nonsense(text, usual_shape(), std::move(units), 0, codec().embedding_basis());
    const auto bytes = nonsense.encode(block, &embeddings_);
    if (!bytes.ok()) continue;
    const auto back = nonsense.decode(*bytes, block.tokens, block.positions, &embeddings_);
    if (back.ok()) expect_shape_of(block, *back);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Hostile, testing::ValuesIn(all_subjects()), subject_name);

}  // namespace
}  // namespace kvsplice::codec
