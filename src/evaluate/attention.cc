#include "evaluate/attention.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "core/threads.h"
#include "linalg/linalg.h"

namespace kvsplice::evaluate {

namespace {

constexpr size_t kBlock = 256;  // queries at a time: the scores are [kBlock x tokens]

// Softmax of the tokens [first, last) of a row of scores; the others get weight 0.
void weigh(std::span<float> scores, size_t first, size_t last) {
  const float top = *std::max_element(scores.begin() + first, scores.begin() + last);
  double sum = 0;
  for (size_t t = first; t < last; ++t) sum += scores[t] = std::exp(scores[t] - top);
  const auto scale = static_cast<float>(1 / sum);
  for (size_t t = first; t < last; ++t) scores[t] *= scale;
  std::fill(scores.begin(), scores.begin() + first, 0.0f);
  std::fill(scores.begin() + last, scores.end(), 0.0f);
}

void attend_block(MatrixView<const float> queries, std::span<const size_t> at,
                  MatrixView<const float> keys, MatrixView<const float> values, size_t window,
                  MatrixView<float> out) {
  const size_t seen = at.back() + 1;
  Matrix<float> scores(queries.rows, seen);
  gemm(Trans::no, Trans::yes, 1 / std::sqrt(float(keys.cols)), queries, keys.row_range(0, seen),
       0.0f, scores);
  for (size_t i = 0; i < queries.rows; ++i) {
    const size_t last = at[i] + 1;
    weigh(scores.row(i), window > 0 && last > window ? last - window : 0, last);
  }
  gemm(Trans::no, Trans::no, 1.0f, scores, values.row_range(0, seen), 0.0f, out);
}

}  // namespace

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
    for (size_t first = 0; first < queries.rows; first += kBlock) {
      const size_t n = std::min(kBlock, queries.rows - first);
      attend_block(q.row_range(first, n), at.subspan(first, n), k, v, shape.window,
                   o.row_range(first, n));
    }
  });
  return out;
}

}  // namespace kvsplice::evaluate
