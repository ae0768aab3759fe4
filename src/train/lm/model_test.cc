// Gradients of the small language model, for every form of cache, against central differences.
#include "train/lm/model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

namespace kvsplice::train::lm {
namespace {

struct Case {
  const char* name;
  CacheForm form;
  size_t heads = 2, kv_heads = 2, head_dim = 4;
};

const Case kCases[] = {
    {"full", {}},
    {"grouped", {}, 4, 1, 4},
    {"one_head", {6}, 1, 1, 6},
    {"latent", {5}},
    {"linear", {4, 6}},
    {"affine", {4, 6, false, Warp::affine}},
    {"normed", {4, 6, true}},
    {"spline", {4, 6, true, Warp::spline}},
    {"flow", {4, 6, true, Warp::flow}},
    {"rate", {0, 0, false, Warp::none, 0.4, 1e-2}},
    {"rate_of_latent", {5, 0, false, Warp::none, 0.4, 1e-2}},
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

Shape shape_of(const Case& c) { return {13, 8, 2, 10, c.heads, c.kv_heads, c.head_dim, 7, 100}; }

Matrix<Token> some_sequences(size_t count, size_t length, size_t vocabulary, uint64_t seed) {
  Random random(seed);
  Matrix<Token> tokens(count, length);
  for (Token& t : tokens.flat()) t = Token(random.below(vocabulary));
  return tokens;
}

// Parameters that are nowhere special.
template <class T>
std::vector<T> some_parameters(const Model<T>& model) {
  std::vector<T> p = model.start(3);
  Random random(5);
  for (T& value : p) value += T(0.2 * random.normal());
  return p;
}

class LmModel : public ::testing::TestWithParam<Case> {};

TEST_P(LmModel, GradientsAreThoseOfDifferences) {
  const Model<double> model(shape_of(GetParam()), GetParam().form);
  std::vector<double> p = some_parameters(model), gradient(p.size()), unused(p.size());
  const auto sequences = some_sequences(3, 8, 13, 1);
  constexpr uint64_t kNoise = 7;
  model.loss({p, kNoise}, sequences, gradient);
  const auto at = [&](size_t i, double value) {
    const double before = std::exchange(p[i], value);
    const double loss = model.loss({p, kNoise}, sequences, unused);
    p[i] = before;
    return loss;
  };
  Random random(9);
  for (const Group& group : model.layout().groups()) {
    double largest = 0;
    for (int i = 0; i < 24; ++i) {
      const size_t at_i = group.first + random.below(group.size());
      const double value = p[at_i], h = 1e-4;
      const auto across = [&](double by) { return at(at_i, value + by) - at(at_i, value - by); };
      const double difference = (8 * across(h) - across(2 * h)) / (12 * h);
      EXPECT_NEAR(gradient[at_i], difference, 1e-8 + 1e-6 * std::abs(difference))
          << group.name << " " << at_i - group.first;
      largest = std::max(largest, std::abs(difference));
    }
    EXPECT_GT(largest, 1e-4) << group.name;
  }
}

// The mistake that was made elsewhere: a layer that is left out in training.
TEST_P(LmModel, EveryMapOfTheCacheChangesTheLoss) {
  const Model<double> model(shape_of(GetParam()), GetParam().form);
  const std::vector<double> p = some_parameters(model);
  const auto sequences = some_sequences(3, 8, 13, 1);
  std::vector<double> unused(p.size());
  const double loss = model.loss({p, 7}, sequences, unused);
  for (const Group& group : model.layout().groups()) {
    if (group.name.find(".cache.") == std::string::npos) continue;
    std::vector<double> without = p;
    for (double& value : group.in(std::span<double>(without))) value = 0;
    EXPECT_GT(std::abs(model.loss({without, 7}, sequences, unused) - loss), 1e-4) << group.name;
  }
  if (GetParam().form.step > 0) {
    EXPECT_GT(std::abs(model.loss({p, 0}, sequences, unused) - loss), 1e-4);
    EXPECT_NE(model.loss({p, 8}, sequences, unused), loss);
  }
}

TEST_P(LmModel, WhatIsCachedIsShownAndCounts) {
  const Model<double> model(shape_of(GetParam()), GetParam().form);
  const std::vector<double> p = some_parameters(model);
  const auto sequences = some_sequences(2, 8, 13, 1);
  const size_t full = 2 * model.shape().kv_width();
  EXPECT_EQ(model.cached_width(), GetParam().form.latent > 0 ? GetParam().form.latent : full);
  const auto plain = *model.losses(p, sequences);
  std::vector<double> unused(p.size());
  EXPECT_NEAR(std::accumulate(plain.begin(), plain.end(), 0.) / 14,
              model.loss({p, 0}, sequences, unused), 1e-12);
  std::vector<size_t> layers;
  const auto changed = *model.losses(p, sequences, [&](size_t layer, Matrix<double>& rows) {
    layers.push_back(layer);
    EXPECT_EQ(rows.rows(), 14u);
    EXPECT_EQ(rows.cols(), model.cached_width());
    if (layer == 1) rows(3, 0) += 5;  // of the first sequence
    return Result<>();
  });
  EXPECT_EQ(layers, (std::vector<size_t>{0, 1}));
  for (size_t t = 0; t < 14; ++t) EXPECT_EQ(changed[t] != plain[t], t >= 3 && t < 7) << t;
}

// A chain of linear maps multiplies out to one.
TEST_P(LmModel, AffineChainsMultiplyOut) {
  const Model<double> model(shape_of(GetParam()), GetParam().form);
  const Case& c = GetParam();
  EXPECT_EQ(model.affine(), !c.form.norm);
  if (!model.affine()) return;
  const std::vector<double> p = some_parameters(model);
  const Model<double> plain(shape_of(c), {});
  std::vector<double> q(plain.layout().size());
  for (const Group& group : plain.layout().groups()) {
    const Group* same = model.layout().find(group.name);
    const auto to = group.in(std::span<double>(q));
    if (!group.name.ends_with("cache.down")) {
      const auto from = same->in(std::span<const double>(p));
      std::copy(from.begin(), from.end(), to.begin());
      continue;
    }
    const auto merged = model.merged(p, size_t(group.name[4] - '0'));
    std::copy(merged.matrix.flat().begin(), merged.matrix.flat().end(), to.begin());
  }
  if (c.form.warp != Warp::none) return;  // constants, which the plain model has not
  const auto sequences = some_sequences(2, 8, 13, 1);
  const auto a = *model.losses(p, sequences), b = *plain.losses(q, sequences);
  for (size_t t = 0; t < a.size(); ++t) EXPECT_NEAR(a[t], b[t], 1e-12);
}

// Float is the same code with other products.
TEST_P(LmModel, FloatIsNear) {
  const Model<double> model(shape_of(GetParam()), GetParam().form);
  const Model<float> small(shape_of(GetParam()), GetParam().form);
  const std::vector<float> q = some_parameters(small);
  const std::vector<double> p(q.begin(), q.end());
  std::vector<double> gradient(p.size());
  std::vector<float> near(q.size());
  const auto sequences = some_sequences(3, 8, 13, 1);
  const double loss = model.loss({p, 0}, sequences, gradient);
  EXPECT_NEAR(small.loss({q, 0}, sequences, near), loss, 1e-5);
  double error = 0, square = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    error += (near[i] - gradient[i]) * (near[i] - gradient[i]);
    square += gradient[i] * gradient[i];
  }
  EXPECT_LT(error, 1e-10 * square);
}

INSTANTIATE_TEST_SUITE_P(Forms, LmModel, ::testing::ValuesIn(kCases),
                         [](const auto& c) { return c.param.name; });

// Models that differ in their caches only have the same first values in all other groups.
TEST(LmModelStart, OtherGroupsStartAlike) {
  const Shape shape{13, 8, 2, 10, 2, 2, 4, 7};
  const Model<float> full(shape, {}), spline(shape, {4, 6, true, Warp::spline});
  const auto a = full.start(1), b = spline.start(1), c = full.start(2);
  for (const Group& group : full.layout().groups()) {
    if (group.name.find(".cache.") != std::string::npos) continue;
    const auto x = group.in(std::span(a)), y = spline.layout().find(group.name)->in(std::span(b));
    EXPECT_TRUE(std::equal(x.begin(), x.end(), y.begin())) << group.name;
    const auto z = group.in(std::span(c));
    EXPECT_EQ(std::equal(x.begin(), x.end(), z.begin()), !group.decays) << group.name;
  }
}

// The spline starts as a stretch, so that the model starts as the one without it.
TEST(LmModelStart, SplineStartsAsNothing) {
  const Shape shape{13, 8, 2, 10, 2, 2, 4, 7};
  const Model<double> plain(shape, {4, 6, true}), spline(shape, {4, 6, true, Warp::spline});
  const auto p = plain.start(1), q = spline.start(1);
  const auto sequences = some_sequences(2, 8, 13, 1);
  const auto a = *plain.losses(p, sequences), b = *spline.losses(q, sequences);
  for (size_t t = 0; t < a.size(); ++t) EXPECT_NEAR(a[t], b[t], 1e-12);
}

}  // namespace
}  // namespace kvsplice::train::lm
