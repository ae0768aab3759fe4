// What conformance cannot say of `layers`: its generated cache has nothing to predict.
#include <gmock/gmock.h>

#include <cmath>
#include <functional>

#include "codec/predict/layers/predictor_fit.h"
#include "codec/predict/layers/rounding_fit.h"
#include "core/random.h"
#include "fit/stage_fit.h"
#include "solve/solve.h"

namespace kvsplice::codec {

namespace {

using layers::Moments;
using layers::Predictor;
using layers::SolveOptions;

Matrix<float> noise(size_t rows, size_t cols, uint64_t seed) {
  Random random(seed);
  Matrix<float> x(rows, cols);
  for (float& v : x.flat()) v = static_cast<float>(random.normal());
  return x;
}

// target = 3 + a A + b B + noise, with a of 12 columns, b of 5 and a target of 8.
struct Example {
  explicit Example(double loudness) {
    const Matrix<float> to_a = noise(12, 8, 3), to_b = noise(5, 8, 4), rest = noise(1600, 8, 5);
    gemm(Trans::no, Trans::no, 1.f, a, to_a, 0.f, target);
    gemm(Trans::no, Trans::no, 1.f, b, to_b, 1.f, target);
    for (size_t i = 0; i < target.size(); ++i) {
      target.flat()[i] += 3 + static_cast<float>(loudness) * rest.flat()[i];
    }
  }
  Moments moments() const {
    layers::SharedProducts shared;
    return layers::measure({{"a", a}, {"b", b}}, target, shared);
  }
  // Mean square of what the prediction leaves.
  double left(const Predictor& predictor) const {
    Matrix<float> made(target.rows(), target.cols());
    predictor.predict({a, b}, made);
    double squares = 0;
    for (size_t i = 0; i < made.size(); ++i) {
      squares += std::pow(double(target.flat()[i]) - made.flat()[i], 2);
    }
    return squares / double(made.size());
  }

  Matrix<float> a = noise(1600, 12, 1), b = noise(1600, 5, 2), target{1600, 8};
};

Predictor solved(const Example& example, const SolveOptions& options) {
  return layers::solve(example.moments(), true, options).value();
}

TEST(Layers, LeavesTheNoiseAndNoLess) {
  const Example example(0.5);
  const double left = example.left(solved(example, {{}, 1e-6, 1e-5}));
  EXPECT_LT(left, 0.25 * 1.04);
  EXPECT_GT(left, 0.25 * 0.94) << "better than the noise allows";
}

// Variance of the example's targets: 17 inputs of weights of rms 1, and the noise.
constexpr double kVariance = 17;

TEST(Layers, RoundingAddsTheNoiseThatIsAskedFor) {
  const Example example(0.5);
  const double fine = example.left(solved(example, {{}, 1e-6, 1e-5}));
  for (const double noise : {1e-3, 1e-2, 3e-2}) {
    const double added = example.left(solved(example, {{}, noise, 1e-5})) - fine;
    EXPECT_LT(added, 1.6 * noise * kVariance) << noise;
    EXPECT_GT(added, 0.5 * noise * kVariance) << noise;
  }
}

TEST(Layers, RoundingOfNarrowPredictionsAddsTheNoiseThatIsAskedFor) {
  const Example example(0.5);
  const double fine = example.left(solved(example, {6, 1e-6, 1e-5}));
  const double added = example.left(solved(example, {6, 1e-2, 1e-5})) - fine;
  EXPECT_LT(added, 1.6e-2 * kVariance);
  EXPECT_GT(added, 0.3e-2 * kVariance);  // what follows is fitted anew, which mends a part
}

TEST(Layers, CoarserWeightsTakeFewerBytes) {
  const Example example(0.5);
  const auto bytes = [&](double noise) {
    return solved(example, {{}, noise, 1e-5}).save().at("codes").values.size();
  };
  EXPECT_LT(bytes(3e-2), bytes(1e-4));
}

TEST(Layers, LowerRankCostsWhatItShould) {
  const Example example(0.5);
  const double whole = example.left(solved(example, {{}, 1e-6, 1e-5}));
  const double narrow = example.left(solved(example, {4, 1e-6, 1e-5}));
  EXPECT_GT(narrow, 2 * whole);
  EXPECT_LT(narrow, 10);
}

TEST(Layers, SavedPredictorsPredictTheSame) {
  const Example example(0.5);
  for (const SolveOptions& options : {SolveOptions{{}, 1e-5, 1e-5}, SolveOptions{5, 1e-3, 1e-5}}) {
    const Predictor made = solved(example, options);
    const Predictor back = Predictor::load(made.save(), 8, Predictor::Inputs::floats).value();
    EXPECT_EQ(example.left(made), example.left(back));
  }
}

TEST(Layers, RoundingInputsToBytesCostsNextToNothing) {
  const Example example(0.5);
  for (const SolveOptions& options : {SolveOptions{{}, 1e-5, 1e-5}, SolveOptions{5, 1e-3, 1e-5}}) {
    const Predictor made = solved(example, options);
    const Predictor back = Predictor::load(made.save(), 8).value();
    // A largest of 17 normal numbers is near 2; steps of 2 / 127 of 17 inputs with weights of
    // rms 1.
    const double added = std::abs(example.left(back) - example.left(made));
    EXPECT_LT(added, 3e-4 * kVariance);
    EXPECT_GT(added, 1e-8 * kVariance);
  }
}

TEST(Layers, HeldOutRowsTellWhatPredictionIsWorth) {
  const auto gain = [](const Example& example) {
    const Moments m = example.moments();
    const Predictor p = layers::solve(m, false, {{}, 1e-6, 1e-5}).value();
    return layers::held_out_bits(m, nullptr) - layers::held_out_bits(m, &p);
  };
  EXPECT_GT(gain(Example(0.5)), 8.0);   // above a bit per column
  EXPECT_LT(gain(Example(1e4)), 0.01);  // nothing to be had: the stage then predicts nothing
}

TEST(Layers, PredictsNothingWhereNothingIsToBeHad) {
  const Matrix<float> keys = noise(1000, 8, 7), values = noise(1000, 8, 8);
  const Unit unit{Kind::value, 0, {8}, {}};
  Shared shared;
  FitContext context{{unit, {}, {}, {{Kind::key, 0, keys}}}};
  context.shared = &shared;
  const auto stage =
      fit_stage("layers", {{"history", "1"}, {"embedding", "off"}}, {values, {}, false, 0}, context)
          .value();
  EXPECT_TRUE(stage->save().empty());
  Rows rows{values, {}, false, 0};
  ByteWriter side;
  ASSERT_TRUE(stage->encode(rows, context, side).ok());
  EXPECT_EQ(rows.values, values);
}

TEST(Layers, RoundingOneByOneBeatsRoundingAtOnce) {
  // Strongly correlated inputs, where errors can make up for each other.
  const Matrix<float> base = noise(500, 4, 9), mix = noise(4, 24, 10), rest = noise(500, 24, 11);
  Matrix<float> x = rest;
  gemm(Trans::no, Trans::no, 1.f, base, mix, 0.1f, x);
  const Matrix<double> moments = scatter(x, {});
  const Matrix<double> factor = cholesky(moments).value();
  Matrix<double> weights(6, 24);
  Random random(12);
  for (double& w : weights.flat()) w = random.normal();
  const std::vector<float> steps(6, 0.4f);
  const Matrix<float> codes = layers::round_weights(weights, factor, steps);
  const auto error = [&](const Matrix<double>& d, size_t row) {
    double sum = 0;
    for (size_t i = 0; i < 24; ++i) {
      for (size_t j = 0; j < 24; ++j) sum += d(row, i) * moments(i, j) * d(row, j);
    }
    return sum;
  };
  double clever = 0, plain = 0;
  Matrix<double> d(6, 24), e(6, 24);
  for (size_t r = 0; r < 6; ++r) {
    for (size_t c = 0; c < 24; ++c) {
      d(r, c) = weights(r, c) - steps[r] * codes(r, c);
      e(r, c) = weights(r, c) - steps[r] * std::round(weights(r, c) / steps[r]);
    }
    clever += error(d, r);
    plain += error(e, r);
  }
  EXPECT_LT(clever, 0.6 * plain);
  EXPECT_GT(clever, 0.001 * plain);
}

TEST(Layers, DamagedWeightsAreRefused) {
  const Example example(0.5);
  const State good = solved(example, {5, 1e-3, 1e-5}).save();
  ASSERT_TRUE(Predictor::load(good, 8).ok());
  const auto refused = [&](const std::function<void(State&)>& damage) {
    State state = good;
    damage(state);
    return !Predictor::load(state, 8).ok();
  };
  EXPECT_TRUE(refused([](State& s) { s["codes"].values[0] = 200; }));
  EXPECT_TRUE(refused([](State& s) { s["codes"].values[0] = 0.5f; }));
  EXPECT_TRUE(refused([](State& s) { s["codes"].values[0] += 1; }));  // their number
  EXPECT_TRUE(refused([](State& s) {
    s["codes"].values.pop_back();
    --s["codes"].dims[0];
  }));
  EXPECT_TRUE(refused([](State& s) { s["up"].dims[1] = 4; }));
  EXPECT_TRUE(refused([](State& s) { s.erase("up"); }));
  EXPECT_TRUE(refused([](State& s) { s.erase("codes"); }));
  EXPECT_FALSE(Predictor::load(good, 9).ok());
}

}  // namespace
}  // namespace kvsplice::codec
