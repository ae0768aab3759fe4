#include "analyse/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/random.h"

namespace kvsplice::analyse {
namespace {

Matrix<float> noise(size_t rows, size_t cols, uint64_t seed, double scale = 1) {
  Random random(seed);
  Matrix<float> x(rows, cols);
  for (float& v : x.flat()) v = static_cast<float>(scale * random.normal());
  return x;
}

double capped(double score, const AttentionShape& s) {
  const double cap = s.scoring.soft_cap;
  return cap == 0 ? score : cap * std::tanh(score / cap);
}

// What a query head's sink takes part in sums with.
double sink_weight(size_t head, const AttentionShape& s) {
  return s.scoring.sinks.empty() ? 0 : std::exp(double(s.scoring.sinks[head]));
}

// By the definition, one query at a time, in double.
std::vector<double> plain_attention(const Matrix<float>& q, size_t row, size_t token, size_t head,
                                    const Matrix<float>& k, const Matrix<float>& v,
                                    const AttentionShape& s) {
  const size_t kv = head / s.queries_per_head;
  std::vector<double> out(s.value_dim);
  double sum = sink_weight(head, s);
  for (size_t t = 0; t <= token; ++t) {
    if (s.window > 0 && (s.chunked ? t / s.window != token / s.window : token - t >= s.window)) {
      continue;
    }
    double dot = 0;
    for (size_t i = 0; i < s.key_dim; ++i) {
      dot += double(q(row, head * s.key_dim + i)) * k(t, kv * s.key_dim + i);
    }
    const double weight = std::exp(capped(dot / std::sqrt(double(s.key_dim)), s));
    sum += weight;
    for (size_t i = 0; i < s.value_dim; ++i) out[i] += weight * v(t, kv * s.value_dim + i);
  }
  for (double& x : out) x /= sum;
  return out;
}

void expect_plain(const AttentionShape& shape, size_t tokens, const std::vector<size_t>& at) {
  const auto q = noise(at.size(), shape.query_heads() * shape.key_dim, 1);
  const auto k = noise(tokens, shape.kv_heads * shape.key_dim, 2, 2);
  const auto v = noise(tokens, shape.kv_heads * shape.value_dim, 3);
  const auto out = attend(q, at, k, v, shape);
  ASSERT_EQ(out.rows(), at.size());
  ASSERT_EQ(out.cols(), shape.query_heads() * shape.value_dim);
  for (size_t i = 0; i < at.size(); ++i) {
    for (size_t h = 0; h < shape.query_heads(); ++h) {
      const auto expected = plain_attention(q, i, at[i], h, k, v, shape);
      for (size_t d = 0; d < shape.value_dim; ++d) {
        ASSERT_NEAR(out(i, h * shape.value_dim + d), expected[d], 2e-5) << i << " " << h;
      }
    }
  }
}

std::vector<size_t> every(size_t step, size_t tokens) {
  std::vector<size_t> at;
  for (size_t t = step - 1; t < tokens; t += step) at.push_back(t);
  return at;
}

TEST(Attend, EqualsTheDefinition) { expect_plain({2, 1, 8, 8, 0}, 40, every(1, 40)); }

TEST(Attend, SharesHeadsAndTakesUnequalWidths) { expect_plain({3, 2, 8, 5, 0}, 50, every(3, 50)); }

TEST(Attend, SeesOnlyTheWindow) { expect_plain({1, 2, 4, 4, 7}, 60, every(1, 60)); }

TEST(Attend, SeesOnlyTheChunk) { expect_plain({1, 2, 4, 4, 7, true}, 60, every(1, 60)); }

AttentionShape scored(AttentionShape shape) {
  shape.scoring.soft_cap = 1.5f;
  for (size_t h = 0; h < shape.query_heads(); ++h) {
    shape.scoring.sinks.push_back(float(h) - 1);
  }
  return shape;
}

TEST(Attend, CapsScoresAndSharesWithSinks) {
  expect_plain(scored({2, 2, 8, 5, 0}), 40, every(1, 40));
  expect_plain(scored({1, 2, 4, 4, 7}), 300, every(1, 300));
}

TEST(Attend, BlocksOfQueriesDoNotShow) { expect_plain({1, 1, 4, 4, 0}, 600, every(1, 600)); }

TEST(Attend, FirstTokenSeesItselfOnly) {
  const auto q = noise(1, 4, 1), k = noise(3, 4, 2), v = noise(3, 4, 3);
  const std::vector<size_t> at = {0};
  const auto out = attend(q, at, k, v, {1, 1, 4, 4, 0});
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(out(0, i), v(0, i));
}

TEST(Attend, LargeScoresDoNotOverflow) {
  const auto q = noise(1, 4, 1, 1e4), k = noise(9, 4, 2, 1e4), v = noise(9, 4, 3);
  const std::vector<size_t> at = {8};
  const auto out = attend(q, at, k, v, {1, 1, 4, 4, 0});
  size_t best = 0;
  auto score = [&](size_t t) {
    double dot = 0;
    for (size_t i = 0; i < 4; ++i) dot += double(q(0, i)) * k(t, i);
    return dot;
  };
  for (size_t t = 1; t < 9; ++t) best = score(t) > score(best) ? t : best;
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(out(0, i), v(best, i), 1e-6);
}

// By the definition, one weight at a time, in double.
double plain_received(const Matrix<float>& q, const Matrix<float>& k, size_t token, size_t kv,
                      const AttentionShape& s) {
  double squares = 0;
  size_t queries = 0;
  for (size_t at = token + kNear; at < q.rows(); ++at) {
    if (s.window > 0 && (s.chunked ? at / s.window != token / s.window : at - token >= s.window)) {
      break;
    }
    ++queries;
    const size_t slid = s.window > 0 && at + 1 > s.window ? at + 1 - s.window : 0;
    const size_t first = s.chunked ? at / s.window * s.window : slid;
    for (size_t head = kv * s.queries_per_head; head < (kv + 1) * s.queries_per_head; ++head) {
      double sum = sink_weight(head, s), own = 0;
      for (size_t t = first; t <= at; ++t) {
        double dot = 0;
        for (size_t i = 0; i < s.key_dim; ++i) {
          dot += double(q(at, head * s.key_dim + i)) * k(t, kv * s.key_dim + i);
        }
        const double weight = std::exp(capped(dot / std::sqrt(double(s.key_dim)), s));
        sum += weight;
        if (t == token) own = weight;
      }
      squares += std::pow(own / sum * double(at + 1 - first), 2);
    }
  }
  return std::log(squares / double(queries));
}

void expect_received(const AttentionShape& shape, size_t tokens) {
  const auto q = noise(tokens, shape.query_heads() * shape.key_dim, 1);
  const auto k = noise(tokens, shape.kv_heads * shape.key_dim, 2, 2);
  const auto received = attention_received(q, k, shape);
  ASSERT_EQ(received.rows(), tokens - kFewestQueries);
  ASSERT_EQ(received.cols(), shape.kv_heads);
  for (size_t t = 0; t < received.rows(); ++t) {
    for (size_t h = 0; h < shape.kv_heads; ++h) {
      ASSERT_NEAR(received(t, h), plain_received(q, k, t, h, shape), 1e-3) << t << " " << h;
    }
  }
}

TEST(AttentionReceived, EqualsTheDefinition) { expect_received({2, 3, 8, 8, 0}, 330); }

TEST(AttentionReceived, CountsTheQueriesWithinTheWindow) { expect_received({1, 2, 4, 4, 40}, 130); }

TEST(AttentionReceived, LeavesToSinksWhatIsTheirs) {
  expect_received(scored({2, 3, 8, 8, 0}), 130);
  expect_received(scored({1, 2, 4, 4, 40}), 130);
}

// The last of a chunk are seen by none of them.
TEST(AttentionReceived, CountsTheQueriesOfTheChunk) {
  const AttentionShape shape{1, 2, 4, 4, 40, true};
  const auto q = noise(200, 8, 1), k = noise(200, 4, 2, 2);
  const auto received = attention_received(q, k, shape);
  for (size_t t = 0; t < received.rows(); ++t) {
    const double wanted = t % 40 + kNear < 40 ? plain_received(q, k, t, 0, shape) : 0;
    ASSERT_NEAR(received(t, 0), wanted, 1e-3) << t;
  }
}

TEST(AttentionReceived, IsZeroWhereAllGetTheSame) {
  const auto received =
      attention_received(Matrix<float>(100, 4), noise(100, 4, 1), {1, 1, 4, 4, 0});
  for (float x : received.flat()) EXPECT_NEAR(x, 0, 1e-4);
}

TEST(AttentionReceived, OfFewTokensIsEmpty) {
  const auto x = noise(kFewestQueries, 4, 1);
  EXPECT_EQ(attention_received(x, x, {1, 1, 4, 4, 0}).rows(), 0);
}

TEST(Attend, OfNoQueriesIsEmpty) {
  const auto out = attend(Matrix<float>(0, 4), {}, noise(3, 4, 1), noise(3, 4, 2), {1, 1, 4, 4, 0});
  EXPECT_EQ(out.rows(), 0);
}

}  // namespace
}  // namespace kvsplice::analyse
