#include "train/lm/trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <set>

#include "core/threads.h"
#include "solve/solve.h"

namespace kvsplice::train::lm {
namespace {

const Shape kShape{17, 32, 2, 40, 2, 2, 16, 32};

// Texts in which every token tells the next but for a draw between two.
std::vector<Token> some_text(size_t n) {
  std::vector<Token> tokens(n);
  Random random(4);
  for (size_t i = 1; i < n; ++i) tokens[i] = Token((tokens[i - 1] * 3 + random.below(2)) % 17);
  return tokens;
}

TrainOptions few_steps() {
  TrainOptions options;
  options.steps = 60;
  options.batch = 40;  // two lanes and a half
  options.rate = 1e-2;
  options.seed = 1;
  return options;
}

struct Trained {
  std::vector<float> start, end;
  double loss;
};

Trained trained(const CacheForm& form, int threads) {
  const int before = thread_count();
  set_thread_count(threads);
  const Model<float> model(kShape, form);
  const auto text = some_text(40000);
  const Sequences data(text, kShape.length, 1);
  Trained t{model.start(1), model.start(1), 0};
  t.loss = *train(model, data, few_steps(), t.end, {});
  set_thread_count(before);
  return t;
}

// The text's entropy is ln 2 a token.
TEST(LmTrainer, LearnsWhatThereIsToLearnWithEveryGroupMoving) {
  const CacheForm forms[] = {{},
                             {8, 16, false, Warp::affine},
                             {8, 16, true, Warp::spline},
                             {8, 16, true, Warp::flow},
                             {0, 0, false, Warp::none, 0.3, 1e-5}};
  for (const CacheForm& form : forms) {
    const Trained t = trained(form, 2);
    EXPECT_GT(t.loss, 0.693);
    EXPECT_LT(t.loss, 0.75);
    const Model<float> model(kShape, form);
    for (const Group& group : model.layout().groups()) {
      const auto a = group.in(std::span(t.start)), b = group.in(std::span(t.end));
      EXPECT_FALSE(std::equal(a.begin(), a.end(), b.begin())) << group.name;
    }
  }
}

TEST(LmTrainer, ThreadsChangeNothing) {
  const CacheForm form{8, 16, true, Warp::spline};
  const Trained one = trained(form, 1), three = trained(form, 3);
  EXPECT_EQ(one.end, three.end);
  EXPECT_EQ(one.loss, three.loss);
}

TEST(LmTrainer, SequencesComeOnceBeforeTheyComeAgain) {
  std::vector<Token> tokens(50);
  std::iota(tokens.begin(), tokens.end(), 0);
  const Sequences data(tokens, 4, 3), other(tokens, 4, 4);
  ASSERT_EQ(data.count(), 10u);
  std::set<Token> first, second;
  const auto order = data.batch(0, 20);
  for (size_t i = 0; i < 10; ++i) {
    first.insert(order(i, 0)), second.insert(order(i + 10, 0));
    for (size_t c = 0; c < 5; ++c) EXPECT_EQ(order(i, c), order(i, 0) + Token(c));
  }
  EXPECT_EQ(first.size(), 10u);
  EXPECT_EQ(first, second);
  EXPECT_EQ(copy(order.view().row_range(4, 4)), data.batch(1, 4));
  EXPECT_NE(order, other.batch(0, 20));
}

TEST(LmTrainer, ALossThatIsNoNumberEnds) {
  for (const CacheForm& form : {CacheForm(), CacheForm{0, 0, false, Warp::none, 0.3, 1e-5}}) {
    const Model<float> model(kShape, form);
    const auto text = some_text(4000);
    auto parameters = model.start(1);
    for (float& p : parameters) p = std::nanf("");
    const auto loss = train(model, Sequences(text, kShape.length, 1), few_steps(), parameters, {});
    ASSERT_FALSE(loss.ok());
    EXPECT_EQ(loss.error().kind, ErrorKind::numeric);
  }
}

// At full rank nothing is lost; below it, what the singular values say.
TEST(LmConvert, LosesWhatTheRankLeavesOut) {
  const Model<float> full(kShape, {}), wide(kShape, {32}), narrow(kShape, {8});
  const auto p = full.start(2);
  const auto q = convert(full, p, wide), r = convert(full, p, narrow);
  const auto text = some_text(66);
  const MatrixView<const Token> sequences(text.data(), 2, 33);
  const auto a = *full.losses(p, sequences), b = *wide.losses(q, sequences);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-4);

  for (const size_t layer : {0, 1}) {
    const Group* weights = full.layout().find("blk." + std::to_string(layer) + ".cache.down");
    const auto exact = weights->matrix(std::span<const float>(p));
    const auto near = narrow.merged(r, layer).matrix;
    double error = 0, left = 0;
    for (size_t row = 0; row < exact.rows; ++row) {
      for (size_t c = 0; c < exact.cols; ++c) {
        error += double(near(row, c) - exact(row, c)) * (near(row, c) - exact(row, c));
      }
    }
    const auto values = *singular_values(exact);
    for (size_t i = 8; i < values.size(); ++i) left += values[i] * values[i];
    EXPECT_NEAR(error, left, 1e-4 * left);
  }
}

}  // namespace
}  // namespace kvsplice::train::lm
