#include "analyse/attention.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>
#include <optional>
#include <vector>

#include "analyse/softmax_kernel.h"
#include "core/threads.h"
#include "linalg/linalg.h"

namespace kvsplice::analyse {

namespace {

constexpr size_t kBlock = 256;  // queries at a time: the scores are [kBlock x tokens]

// Of one query head.
struct HeadScoring {
  float soft_cap = 0;
  std::optional<float> sink;
};

HeadScoring scoring_of(const AttentionShape& shape, size_t head) {
  HeadScoring of{shape.scoring.soft_cap, {}};
  if (!shape.scoring.sinks.empty()) of.sink = shape.scoring.sinks[head];
  return of;
}

// Softmax of the tokens [first, last) of a row of scores; the others get weight 0. A sink needs
// room behind the last token.
void weigh(std::span<float> scores, size_t first, size_t last, const HeadScoring& scoring) {
  if (const float cap = scoring.soft_cap; cap != 0) {
    for (size_t t = first; t < last; ++t) scores[t] = cap * std::tanh(scores[t] / cap);
  }
  if (scoring.sink) scores[last] = *scoring.sink;
  softmax_kernel::softmax(&scores[first], last - first + (scoring.sink ? 1 : 0));
  std::fill(scores.begin(), scores.begin() + first, 0.0f);
  std::fill(scores.begin() + last, scores.end(), 0.0f);
}

// Weights of the tokens up to the last query's: [queries x tokens], and a column of zeros if there
// is a sink.
Matrix<float> weights(MatrixView<const float> queries, std::span<const size_t> at,
                      MatrixView<const float> keys, const AttentionShape& shape,
                      const HeadScoring& scoring) {
  const size_t seen = at.back() + 1;
  Matrix<float> scores(queries.rows, seen + (scoring.sink ? 1 : 0));
  gemm(Trans::no, Trans::yes, 1 / std::sqrt(float(keys.cols)), queries, keys.row_range(0, seen),
       0.0f, scores.view().col_range(0, seen));
  for (size_t i = 0; i < queries.rows; ++i) {
    weigh(scores.row(i), shape.first_seen(at[i]), at[i] + 1, scoring);
  }
  return scores;
}

// Calls body(first, at of some queries, their weights) for blocks of one head's queries.
template <class Body>
void for_weights(MatrixView<const float> queries, std::span<const size_t> at,
                 MatrixView<const float> keys, const AttentionShape& shape,
                 const HeadScoring& scoring, const Body& body) {
  for (size_t first = 0; first < queries.rows; first += kBlock) {
    const size_t n = std::min(kBlock, queries.rows - first);
    const auto some = at.subspan(first, n);
    body(first, some, weights(queries.row_range(first, n), some, keys, shape, scoring));
  }
}

// Adds the squares of one query head's weights, as shares of an even weight, to those of tokens
// that are no nearer than kNear.
void add_squares(MatrixView<const float> queries, MatrixView<const float> keys,
                 const AttentionShape& shape, const HeadScoring& scoring,
                 std::span<double> squares) {
  std::vector<size_t> all(queries.rows);
  std::iota(all.begin(), all.end(), size_t{0});
  for_weights(queries, all, keys, shape, scoring, [&](size_t, auto at, const Matrix<float>& w) {
    for (size_t i = 0; i < at.size(); ++i) {
      const size_t from = shape.first_seen(at[i]);
      const double seen = double(at[i] + 1 - from);
      for (size_t t = from; t + kNear <= at[i]; ++t) squares[t] += std::pow(w(i, t) * seen, 2);
    }
  });
}

}  // namespace

size_t AttentionShape::end_of_sight(size_t t, size_t end) const {
  if (window == 0) return end;
  return std::min(end, chunked ? (t / window + 1) * window : t + window);
}

Matrix<float> attend(MatrixView<const float> queries, std::span<const size_t> at,
                     MatrixView<const float> keys, MatrixView<const float> values,
                     const AttentionShape& shape) {
  assert(queries.rows == at.size() && keys.rows == values.rows);
  assert(queries.cols == shape.query_heads() * shape.key_dim);
  assert(at.empty() || at.back() < keys.rows);
  Matrix<float> out(queries.rows, shape.query_heads() * shape.value_dim);
  parallel_for(shape.query_heads(), [&](size_t head) {
    const size_t kv_head = head / shape.queries_per_head;
    const auto q = queries.col_range(head * shape.key_dim, shape.key_dim);
    const auto k = keys.col_range(kv_head * shape.key_dim, shape.key_dim);
    const auto v = values.col_range(kv_head * shape.value_dim, shape.value_dim);
    const auto o = out.view().col_range(head * shape.value_dim, shape.value_dim);
    for_weights(q, at, k, shape, scoring_of(shape, head),
                [&](size_t first, auto some, const Matrix<float>& w) {
                  const size_t seen = some.back() + 1;
                  gemm(Trans::no, Trans::no, 1.0f, w.view().col_range(0, seen),
                       v.row_range(0, seen), 0.0f, o.row_range(first, some.size()));
                });
  });
  return out;
}

Matrix<float> attention_received(MatrixView<const float> queries, MatrixView<const float> keys,
                                 const AttentionShape& shape) {
  assert(queries.rows == keys.rows && queries.cols == shape.query_heads() * shape.key_dim);
  constexpr double kLeast = 1e-6;  // below it, logarithms say more of one token than of its kind
  const size_t n = queries.rows;
  if (n <= kFewestQueries) return Matrix<float>(0, shape.kv_heads);
  Matrix<double> squares(shape.query_heads(), n);
  parallel_for(shape.query_heads(), [&](size_t head) {
    const size_t kv_head = head / shape.queries_per_head;
    add_squares(queries.col_range(head * shape.key_dim, shape.key_dim),
                keys.col_range(kv_head * shape.key_dim, shape.key_dim), shape,
                scoring_of(shape, head), squares.row(head));
  });
  Matrix<float> received(n - kFewestQueries, shape.kv_heads);
  for (size_t t = 0; t < received.rows(); ++t) {
    const size_t last = shape.end_of_sight(t, n);
    if (last <= t + kNear) continue;  // at the end of a chunk: nothing is known, 0 stands for even
    const size_t count = last - (t + kNear);
    for (size_t h = 0; h < shape.kv_heads; ++h) {
      double sum = 0;
      for (size_t q = 0; q < shape.queries_per_head; ++q) {
        sum += squares(h * shape.queries_per_head + q, t);
      }
      received(t, h) = static_cast<float>(std::log(kLeast + sum / double(count)));
    }
  }
  return received;
}

}  // namespace kvsplice::analyse
