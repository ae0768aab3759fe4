// What conformance cannot say of `range`: the coder by itself, on any codes and any tables.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "core/random.h"
#include "range/block.h"
#include "range/coder_kernel.h"
#include "range/fit.h"
#include "simd/target.h"

namespace kvsplice::range {
namespace {

// Two-sided geometric codes whose scale falls off with the column and wanders with the row.
Matrix<int32_t> generate(size_t rows, size_t cols, double scale, uint64_t seed) {
  Random random(seed);
  Matrix<int32_t> codes(rows, cols);
  double gain = 1;
  for (size_t r = 0; r < rows; ++r) {
    gain = std::exp(0.9 * std::log(gain) + 0.2 * random.normal());
    for (size_t c = 0; c < cols; ++c) {
      const double s = scale * gain * std::pow(0.01, double(c) / double(cols));
      const double x = s * -std::log(1 - random.uniform());
      codes(r, c) = static_cast<int32_t>(std::lround(std::min(x, 1e9)));
      if (random.below(2) == 0) codes(r, c) = -codes(r, c);
    }
  }
  return codes;
}

Model fitted(const Matrix<int32_t>& codes) {
  return make_model(calibrate(codes, medians(codes))).value();
}

Encoded padded(Encoded encoded, const Model& model) {
  encoded.words.resize(encoded.words.size() + padding_words(model));
  return encoded;
}

double bits_of(const Encoded& e) {
  return 8 * (4.0 * kLanes + 2.0 * double(e.words.size()) + double(e.escapes.size()));
}

TEST(RangeModel, LogarithmIsSixteenPerOctave) {
  for (uint32_t v : {1u, 2u, 3u, 5u, 17u, 1000u, 1u << 20, 4000000000u}) {
    EXPECT_NEAR(log16(v), 16 * std::log2(double(v)), 2.5) << v;
  }
  for (int e = 0; e < 32; ++e) EXPECT_EQ(log16(1u << e), 16 * e);
}

TEST(RangeModel, SymbolsAndQuotientsMatch) {
  for (int s = 0; s < kEscape; ++s) EXPECT_EQ(symbol_of(quotient_of(s)), s);
  EXPECT_EQ(symbol_of(8), kEscape);
  EXPECT_EQ(symbol_of(-8), kEscape);
}

TEST(RangeModel, FrequenciesSumToTheTotalAndFollowCosts) {
  Costs costs;
  costs.fill(4 * kCostSteps);  // 1/16 each
  const ClassTable even = make_table(costs, 0).value();
  for (uint16_t f : even.frequency) EXPECT_EQ(f, 1 << (kTotalBits - 4));
  costs.fill(0);  // sixteen certainties
  EXPECT_FALSE(make_table(costs, 3).ok());
  costs.fill(kLargestCost);
  costs[0] = 0;
  const ClassTable sure = make_table(costs, 0).value();
  EXPECT_EQ(sure.frequency[0], (1 << kTotalBits) - 15);
  EXPECT_EQ(sure.start[15] + sure.frequency[15], 1 << kTotalBits);
}

RC_GTEST_PROP(RangeCoder, EveryTargetDecodesWhatWasEncoded, ()) {
  const auto rows = *rc::gen::inRange<size_t>(1, 40), cols = *rc::gen::inRange<size_t>(1, 70);
  const double scale = std::exp2(*rc::gen::inRange(-6, 24));
  const auto seed = *rc::gen::arbitrary<uint64_t>();
  const Model model = fitted(generate(60, cols, scale, seed));
  // Other codes than those it was fitted on, some of them far out.
  Matrix<int32_t> codes = generate(rows, cols, 3 * scale, seed + 1);
  const auto wild = *rc::gen::container<std::vector<int32_t>>(
      rc::gen::inRange<int32_t>(-kLargestCode, kLargestCode));
  for (size_t i = 0; i < wild.size(); ++i) {
    const size_t at = i * 7 % codes.size();
    codes.flat()[at] = model.centre[at % cols] + wild[i];
  }
  const Encoded encoded = padded(encode(model, codes.data(), rows), model);
  Matrix<int32_t> back(rows, cols);
  RC_ASSERT(decode_reference(model, encoded, rows, back.data()) == DecodeError::none);
  RC_ASSERT(back == codes);
  for_each_simd_target([&](const std::string&) {
    back = Matrix<int32_t>(rows, cols);
    RC_ASSERT(decode(model, encoded, rows, back.data()) == DecodeError::none);
    RC_ASSERT(back == codes);
  });
}

// As far from their centres as codes may be, and nearly so.
RC_GTEST_PROP(RangeCoder, CodesAtTheEdgeOfReachComeBack, ()) {
  const auto rows = *rc::gen::inRange<size_t>(1, 20), cols = *rc::gen::inRange<size_t>(1, 20);
  const auto centre = *rc::gen::container<std::vector<int32_t>>(
      cols, rc::gen::inRange<int32_t>(-(1 << 23), (1 << 23) + 1));
  const auto side = rc::gen::element(-1, 1);
  const auto below = rc::gen::oneOf(rc::gen::element<int32_t>(0, 1, 2, 3),
                                    rc::gen::inRange<int32_t>(0, kLargestCode + 1));
  Matrix<int32_t> codes(rows, cols);
  for (size_t i = 0; i < codes.size(); ++i) {
    codes.flat()[i] = centre[i % cols] + *side * (kLargestCode - *below);
    RC_ASSERT(within_reach(codes.flat()[i], centre[i % cols]));
  }
  const Model model = make_model(calibrate(codes, centre)).value();
  const Encoded encoded = padded(encode(model, codes.data(), rows), model);
  for_each_simd_target([&](const std::string&) {
    Matrix<int32_t> back(rows, cols);
    RC_ASSERT(decode(model, encoded, rows, back.data()) == DecodeError::none);
    RC_ASSERT(back == codes);
  });
}

TEST(RangeCoder, BytesHoldNoMoreCodesThanTheirBoundSays) {
  Calibration sure;
  sure.centre.resize(64);
  sure.mean.assign(8, 1);
  for (Costs& costs : sure.costs) {
    costs.fill(kLargestCost);
    costs[0] = 0;
  }
  const Matrix<int32_t> zeros(20000, 64);
  ByteWriter out;
  encode_block(make_model(sure).value(), zeros, out);
  EXPECT_LE(zeros.size(), most_codes(out.size()));
  EXPECT_GE(2 * zeros.size(), most_codes(out.size())) << "the bound is far too wide";
}

RC_GTEST_PROP(RangeCoder, EveryTargetSaysTheSameOfDamage, ()) {
  const size_t rows = 20, cols = 37;
  const Matrix<int32_t> codes = generate(rows, cols, 2, 5);
  static const Model model = fitted(codes);
  Encoded encoded = encode(model, codes.data(), rows);
  const auto flips =
      *rc::gen::nonEmpty(rc::gen::container<std::vector<uint32_t>>(rc::gen::arbitrary<uint32_t>()));
  for (uint32_t f : flips) encoded.words[f / 16 % encoded.words.size()] ^= 1 << (f % 16);
  encoded.words.resize(*rc::gen::inRange<size_t>(0, encoded.words.size() + 3));
  encoded = padded(std::move(encoded), model);
  Matrix<int32_t> back(rows, cols), other(rows, cols);
  const DecodeError error = decode_reference(model, encoded, rows, back.data());
  for_each_simd_target([&](const std::string&) {
    RC_ASSERT(decode(model, encoded, rows, other.data()) == error);
    RC_ASSERT(error != DecodeError::none || other == back);
  });
}

TEST(RangeCoder, RealBitsAreCloseToTheEntropyOfStationaryCodes) {
  // Columns of known entropy without anything for contexts to find.
  constexpr size_t kRows = 4096, kCols = 64;
  Random random(7);
  Matrix<int32_t> codes(kRows, kCols);
  double entropy = 0;
  for (size_t c = 0; c < kCols; ++c) {
    const double ratio = 0.9 * std::pow(0.02, double(c) / kCols), zero = (1 - ratio) / (1 + ratio);
    double h = -zero * std::log2(zero);
    for (int k = 1; k < 200; ++k) {
      const double p = zero * std::pow(ratio, k);
      if (p > 0) h -= 2 * p * std::log2(p);
    }
    entropy += h * kRows;
    for (size_t r = 0; r < kRows; ++r) {
      const double u = random.uniform();
      const auto magnitude =
          u < zero ? 0 : 1 + int(std::log(1 - (u - zero) / (1 - zero)) / std::log(ratio));
      codes(r, c) = random.below(2) == 0 ? magnitude : -magnitude;
    }
  }
  const Model model = fitted(codes);
  const double bits = bits_of(encode(model, codes.data(), kRows));
  EXPECT_LT(bits, 1.03 * entropy);
  EXPECT_GT(bits, 0.99 * entropy) << "less than the entropy: something is not stored";
}

TEST(RangeCoder, ContextsGainOnRowsOfUnequalLoudness) {
  const Matrix<int32_t> codes = generate(2048, 96, 4, 8);
  const Calibration calibration = calibrate(codes, medians(codes));
  EXPECT_GT(calibration.near_weight, 0);
  Calibration still = calibration;
  still.near_weight = still.past_weight = 0;
  const Model with = make_model(calibration).value(), without = make_model(still).value();
  const double ratio = bits_of(encode(with, codes.data(), codes.rows())) /
                       bits_of(encode(without, codes.data(), codes.rows()));
  EXPECT_LT(ratio, 0.97);
  EXPECT_GT(ratio, 0.5);
}

TEST(RangeCoder, ColumnsOfZerosCostNextToNothing) {
  Matrix<int32_t> codes(256, 192);
  for (size_t i = 0; i < 256 * kLanes; i += 5) codes(i / kLanes, i % kLanes) = i % 2 == 0 ? 1 : -1;
  const Model model = fitted(codes);
  const double entropy = 256 * kLanes * (0.2 * std::log2(10.0) + 0.8 * std::log2(1.25));
  const double bits = bits_of(encode(model, codes.data(), codes.rows()));
  EXPECT_LT(bits, 1.1 * entropy + 32 * kLanes);
  EXPECT_GT(bits, entropy);
}

}  // namespace
}  // namespace kvsplice::range
