#include "functions/siren.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "core/random.h"
#include "core/threads.h"
#include "functions/siren_trainer.h"
#include "simd/target.h"

namespace kvsplice::functions {
namespace {

Matrix<float> normals(size_t rows, size_t cols, uint64_t seed = 1) {
  Random random(seed);
  Matrix<float> m(rows, cols);
  for (float& x : m.flat()) x = float(random.normal());
  return m;
}

// Targets of bench/peers/siren_numpy.py.
Matrix<float> waves() {
  Matrix<float> y(40, 5);
  for (size_t i = 0; i < y.rows(); ++i) {
    for (size_t j = 0; j < y.cols(); ++j) {
      y(i, j) =
          float(std::sin(double((j + 1) * i) / 7) + 0.3 * std::cos(double(i * i * (j + 2)) / 50));
    }
  }
  return y;
}

class ThreadsRestored : public ::testing::Test {
 protected:
  ~ThreadsRestored() override { set_thread_count(before_); }
  int before_ = thread_count();
};
using SirenFitting = ThreadsRestored;

TEST(SirenGradient, IsTheFiniteDifferenceInDouble) {
  for (const SirenShape shape :
       {SirenShape{5, 0, 3, 30}, SirenShape{6, 1, 2, 10}, SirenShape{9, 3, 5, 15}}) {
    const auto y = normals(23, shape.outputs);
    auto parameters = initial_parameters(shape, 4);
    SirenTrainer<double> trainer(shape, parameters, y);
    trainer.loss_and_gradient();
    const auto gradient = trainer.gradient();
    ASSERT_EQ(gradient.size(), shape.parameters());
    for (size_t i = 0; i < parameters.size(); ++i) {
      const double before = parameters[i], h = 1e-6;
      parameters[i] = before + h;
      const double up = SirenTrainer<double>(shape, parameters, y).loss();
      parameters[i] = before - h;
      const double down = SirenTrainer<double>(shape, parameters, y).loss();
      parameters[i] = before;
      ASSERT_NEAR(gradient[i], (up - down) / (2 * h), 1e-6 * (1 + std::abs(gradient[i]))) << i;
    }
  }
}

// Over several chunks and blocks of rows.
TEST(SirenGradient, InFloatIsThatInDoubleAtEveryTarget) {
  const SirenShape shape{37, 2, 21, 30};
  const auto y = normals(1100, shape.outputs);
  const auto parameters = initial_parameters(shape, 5);
  SirenTrainer<double> exact(shape, parameters, y);
  const double loss = exact.loss_and_gradient();
  const auto want = exact.gradient();
  double norm = 0;
  for (double g : want) norm += g * g;
  for_each_simd_target([&](const std::string& target) {
    SCOPED_TRACE(target);
    SirenTrainer<float> trainer(shape, parameters, y);
    EXPECT_NEAR(trainer.loss_and_gradient(), loss, 1e-5 * loss);
    const auto got = trainer.gradient();
    double error = 0;
    for (size_t i = 0; i < got.size(); ++i) error += std::pow(got[i] - want[i], 2);
    EXPECT_LT(std::sqrt(error / norm), 1e-4);
    EXPECT_GT(std::sqrt(error / norm), 1e-9);
  });
}

// Losses before epochs 0, 30, ..., 270 and after 300, printed by bench/peers/siren_numpy.py: a
// second implementation of the recipe, in NumPy and double precision.
TEST(SirenTraining, FollowsTheStoredTrajectory) {
  const std::vector<double> stored = {0.9829917311170562,  0.7324079400233547,  0.5390886525631009,
                                      0.40603320365700085, 0.3169260622880564,  0.26023466063074574,
                                      0.22407865912454367, 0.20264941638992312, 0.1917240314502366,
                                      0.18758695207321574, 0.18690692909291554};
  const SirenShape shape{12, 2, 5, 30};
  SirenOptions options;
  options.epochs = 300;
  options.rate = 1e-3;
  options.seed = 7;
  const auto fit = fit_siren(waves(), shape, options, {});
  ASSERT_TRUE(fit.ok());
  ASSERT_EQ(fit->losses.size(), 301u);
  for (size_t i = 0; i < stored.size(); ++i) {
    EXPECT_NEAR(fit->losses[30 * i], stored[i], 2e-4 * stored[i]) << 30 * i;
  }

  // The same code in double stays ten times closer (the targets are floats).
  const auto y = standardise(waves(), column_scale(waves()));
  SirenTrainer<double> trainer(shape, initial_parameters(shape, 7), y);
  for (size_t epoch = 0; epoch < 300; ++epoch) {
    const double loss = trainer.loss_and_gradient();
    if (epoch % 30 == 0) {
      EXPECT_NEAR(loss, stored[epoch / 30], 2e-5 * loss) << epoch;
    }
    const double rate =
        1e-6 + (1e-3 - 1e-6) * (1 + std::cos(std::numbers::pi * double(epoch) / 300)) / 2;
    trainer.step(adam_step<double>(rate, epoch + 1));
  }
  EXPECT_NEAR(trainer.loss(), stored.back(), 2e-5 * stored.back());
}

TEST_F(SirenFitting, DoesNotDependOnTheNumberOfThreads) {
  const auto y = normals(1300, 6);
  for (auto trainer : {SirenOptions::Trainer::adam, SirenOptions::Trainer::varpro}) {
    SirenOptions options;
    options.trainer = trainer;
    options.epochs = 5;
    std::vector<std::vector<float>> parameters;
    for (int threads : {1, 2, 3}) {
      set_thread_count(threads);
      const auto fit = fit_siren(y, SirenShape{20, 1, 0, 30}, options, {});
      ASSERT_TRUE(fit.ok());
      parameters.push_back(fit->model.parameters);
    }
    parallel_for(2, [&](size_t i) {  // and when fits run side by side
      const auto fit = fit_siren(y, SirenShape{20, 1, 0, 30}, options, {});
      parameters[i + 1] = fit->model.parameters;
    });
    EXPECT_EQ(parameters[0], parameters[1]);
    EXPECT_EQ(parameters[0], parameters[2]);
  }
}

TEST_F(SirenFitting, EvaluatesToWhatItWasTrainedTo) {
  Matrix<float> y = normals(300, 7);
  for (size_t r = 0; r < y.rows(); ++r) y(r, 3) = 4;     // a constant column
  for (size_t r = 0; r < y.rows(); ++r) y(r, 5) *= 100;  // and one of another size
  SirenOptions options;
  options.epochs = 60;
  options.rate = 1e-3;
  const auto fit = fit_siren(y, SirenShape{40, 1, 0, 30}, options, {});
  ASSERT_TRUE(fit.ok());
  EXPECT_LT(fit->losses.back(), 0.95 * fit->losses.front());
  EXPECT_EQ(fit->model.parameters.size(), fit->model.shape.parameters());
  const auto back = fit->model.evaluate(unit_positions(y.rows()));
  double error = 0;
  for (size_t r = 0; r < y.rows(); ++r) {
    EXPECT_NEAR(back(r, 3), 4, 0.01);
    for (size_t c = 0; c < y.cols(); ++c) {
      error += std::pow((back(r, c) - y(r, c)) / fit->model.scale.deviation[c], 2);
    }
  }
  EXPECT_NEAR(error / double(y.size()), fit->losses.back(), 1e-5);
}

TEST_F(SirenFitting, VariableProjectionIsFarAheadOfAdam) {
  const auto y = normals(200, 8);
  SirenOptions adam, varpro;
  adam.epochs = 200;
  varpro.trainer = SirenOptions::Trainer::varpro;
  varpro.epochs = 10;
  const SirenShape shape{32, 1, 0, 30};
  const auto slow = fit_siren(y, shape, adam, {}), fast = fit_siren(y, shape, varpro, {});
  ASSERT_TRUE(slow.ok() && fast.ok());
  EXPECT_LT(fast->losses.back(), slow->losses.back());
  EXPECT_LT(fast->losses.back(), fast->losses.front());
  EXPECT_GT(fast->losses.back(), 0.01);
}

// With the read-out at its optimum, the residual is orthogonal to every feature: the read-out's
// gradient is zero.
TEST_F(SirenFitting, VariableProjectionEndsAtTheBestReadOut) {
  const auto y = normals(150, 4);
  SirenOptions options;
  options.trainer = SirenOptions::Trainer::varpro;
  options.epochs = 3;
  const SirenShape shape{12, 1, 4, 30};
  const auto fit = fit_siren(y, shape, options, {});
  ASSERT_TRUE(fit.ok());
  const auto& p = fit->model.parameters;
  SirenTrainer<double> trainer(shape, std::vector<double>(p.begin(), p.end()),
                               standardise(y, fit->model.scale));
  trainer.loss_and_gradient();
  const auto gradient = trainer.gradient();
  const size_t read_out = gradient.size() - 4 * 13;
  double inside = 0;
  for (size_t i = 0; i < read_out; ++i) inside = std::max(inside, std::abs(gradient[i]));
  for (size_t i = read_out; i < gradient.size(); ++i) EXPECT_NEAR(gradient[i], 0, 1e-5);
  EXPECT_GT(inside, 1e-3);
}

TEST_F(SirenFitting, StopsEarlyWhenNothingIsGained) {
  SirenOptions options;
  options.epochs = 400;
  options.stop_below = 0.5;  // nothing halves the loss every 40 epochs for long
  const auto fit = fit_siren(waves(), SirenShape{8, 0, 0, 30}, options, {});
  ASSERT_TRUE(fit.ok());
  EXPECT_GE(fit->losses.size(), 41u);
  EXPECT_LT(fit->losses.size(), 100u);
}

TEST_F(SirenFitting, RefusesWhatCannotBeFitted) {
  const auto fit = [](const Matrix<float>& y, SirenShape shape) {
    return fit_siren(y, shape, SirenOptions{}, {});
  };
  EXPECT_EQ(fit(Matrix<float>(0, 0), {}).error().kind, ErrorKind::numeric);
  EXPECT_EQ(fit(waves(), SirenShape{0, 1, 0, 30}).error().kind, ErrorKind::usage);
  for (float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    auto y = waves();
    y(17, 2) = bad;
    const auto refused = fit(y, {});
    ASSERT_FALSE(refused.ok());
    EXPECT_NE(refused.error().message.find("row 17"), std::string::npos);
  }
}

TEST_F(SirenFitting, StopsOnRequest) {
  Progress progress;
  progress.on_step = [](const std::string&, size_t done, size_t) { return done < 3; };
  const auto fit = fit_siren(waves(), SirenShape{8, 1, 0, 30}, SirenOptions{}, progress);
  ASSERT_FALSE(fit.ok());
  EXPECT_EQ(fit.error().kind, ErrorKind::interrupted);
}

}  // namespace
}  // namespace kvsplice::functions
