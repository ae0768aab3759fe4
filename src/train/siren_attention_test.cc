#include "train/siren_attention.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/random.h"
#include "core/threads.h"
#include "linalg/linalg.h"
#include "simd/target.h"

namespace kvsplice::train {
namespace {

using functions::initial_parameters;
using functions::SirenModel;
using functions::SirenShape;
using functions::unit_positions;

SirenModel random_model(SirenShape shape, size_t outputs, uint64_t seed) {
  shape.outputs = outputs;
  SirenModel model;
  model.shape = shape;
  for (double p : initial_parameters(shape, seed)) model.parameters.push_back(float(p));
  Random random(seed + 1);
  for (size_t i = 0; i < outputs; ++i) {
    model.scale.mean.push_back(float(random.normal()));
    model.scale.deviation.push_back(float(random.uniform(0.5, 3)));
  }
  return model;
}

Matrix<float> random_queries(size_t count, size_t dim) {
  Random random(99);
  Matrix<float> q(count, dim);
  for (float& x : q.flat()) x = float(random.normal());
  return q;
}

// Attention in double over the vectors themselves.
Matrix<double> plain_attention(MatrixView<const float> queries, MatrixView<const float> keys,
                               MatrixView<const float> values, double scale) {
  Matrix<double> out(queries.rows, values.cols);
  for (size_t q = 0; q < queries.rows; ++q) {
    std::vector<double> scores(keys.rows);
    double top = -1e300, sum = 0;
    for (size_t t = 0; t < keys.rows; ++t) {
      for (size_t c = 0; c < keys.cols; ++c)
        scores[t] += double(queries(q, c)) * keys(t, c) * scale;
      top = std::max(top, scores[t]);
    }
    for (double& s : scores) sum += s = std::exp(s - top);
    for (size_t t = 0; t < keys.rows; ++t) {
      for (size_t c = 0; c < values.cols; ++c) out(q, c) += scores[t] / sum * values(t, c);
    }
  }
  return out;
}

double relative_error(const Matrix<float>& got, const Matrix<double>& want) {
  double error = 0, energy = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    error += std::pow(double(got.flat()[i]) - want.flat()[i], 2);
    energy += want.flat()[i] * want.flat()[i];
  }
  return std::sqrt(error / energy);
}

// Queries times the transposed read-out of the keys, scale included.
Matrix<float> absorb(const Matrix<float>& queries, const Matrix<float>& read_out, float scale) {
  Matrix<float> absorbed(queries.rows(), read_out.rows());
  gemm(Trans::no, Trans::yes, scale, queries, read_out, 0.f, absorbed);
  return absorbed;
}

Matrix<float> read(const Matrix<float>& mixed, const Matrix<float>& read_out) {
  Matrix<float> out(mixed.rows(), read_out.cols());
  gemm(Trans::no, Trans::no, 1.f, mixed, read_out, 0.f, out);
  return out;
}

constexpr float kScale = 0.25f;

TEST(SirenAttention, IsAttentionOverTheComputedVectors) {
  for_each_simd_target([](const std::string& target) {
    for (const SirenShape shape :
         {SirenShape{40, 0, 0, 30}, SirenShape{33, 1, 0, 30}, SirenShape{24, 2, 0, 60}}) {
      for (size_t n : {1, 2, 77, 1500}) {
        SCOPED_TRACE(target + ", layers " + std::to_string(shape.layers) + ", n " +
                     std::to_string(n));
        const auto keys = random_model(shape, 16, 1), values = random_model(shape, 12, 2);
        const auto x = unit_positions(n);
        const auto queries = random_queries(19, 16);
        const auto want = plain_attention(queries, keys.evaluate(x), values.evaluate(x), kScale);
        const SirenTrunk key_trunk(keys, n), value_trunk(values, n);
        const auto mixed =
            mix_features(key_trunk, value_trunk, absorb(queries, folded_read_out(keys), kScale));
        const double error = relative_error(read(mixed, folded_read_out(values)), want);
        EXPECT_LT(error, 1e-4);
        EXPECT_GT(error, 0);
      }
    }
  });
}

TEST(SirenAttention, KeysAndValuesMayShareATrunk) {
  const size_t n = 700, dim = 10;
  const auto both = random_model(SirenShape{48, 1, 0, 30}, 2 * dim, 5);
  const auto vectors = both.evaluate(unit_positions(n));
  const auto queries = random_queries(3, dim);
  const auto want = plain_attention(queries, vectors.view().col_range(0, dim),
                                    vectors.view().col_range(dim, dim), kScale);
  const auto folded = folded_read_out(both);
  const auto keys = copy(folded.view().col_range(0, dim));
  const auto values = copy(folded.view().col_range(dim, dim));
  const SirenTrunk trunk(both, n);
  const auto mixed = mix_features(trunk, trunk, absorb(queries, keys, kScale));
  EXPECT_LT(relative_error(read(mixed, values), want), 1e-4);
}

// First-layer waves as the recipe draws them, and at the ends of what training makes of them: waves
// that hardly move and waves near half a turn a row.
TEST(SirenAttention, RecurrenceFollowsTheSines) {
  const size_t n = 4096, hidden = 32;
  SirenModel model = random_model(SirenShape{hidden, 0, 0, 30}, 1, 6);
  for (size_t u = 0; u < hidden; ++u) model.parameters[u] = float(std::pow(2.0, double(u) / 2 - 8));
  const SirenTrunk trunk(model, n);
  auto work = trunk.workspace();
  const size_t width = trunk.panel_width(), count = 150;
  double worst = 0;
  for (size_t first : {size_t{0}, size_t{1}, n - count}) {
    trunk.features(first, count, work);
    for (size_t r = 0; r < count; ++r) {
      for (size_t u = 0; u < hidden; ++u) {
        const double x = double(first + r) / double(n - 1);
        const double z =
            30.0 * (double(model.parameters[u]) * x + double(model.parameters[hidden + u]));
        const float got = work.features[(u / width * count + r) * width + u % width];
        worst = std::max(worst, std::abs(got - std::sin(z)));
      }
    }
  }
  EXPECT_LT(worst, 1e-5);
  EXPECT_GT(worst, 1e-8);
}

TEST(SirenAttention, DoesNotDependOnTheNumberOfThreads) {
  const auto model = random_model(SirenShape{20, 1, 0, 30}, 8, 7);
  const SirenTrunk trunk(model, 2000);
  const auto absorbed = absorb(random_queries(5, 8), folded_read_out(model), kScale);
  const int before = thread_count();
  set_thread_count(1);
  const auto one = mix_features(trunk, trunk, absorbed);
  set_thread_count(3);
  EXPECT_EQ(mix_features(trunk, trunk, absorbed), one);
  set_thread_count(before);
}

}  // namespace
}  // namespace kvsplice::train
