#include "live/layer_cache.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/threads.h"
#include "linalg/linalg.h"

namespace kvsplice::live {

namespace {

constexpr size_t kRows = plane_kernel::kRows;
constexpr size_t kTask = 16;          // blocks of a thread's task, whatever the number of threads
constexpr float kNegligible = 1e-6f;  // weights below it, in all of a block, leave its values out

void append_halves(MatrixView<const float> rows, std::vector<uint16_t>& to) {
  const size_t before = to.size();
  to.resize(before + rows.rows * rows.cols);
  to_halves(rows, {&to[before], rows.rows, rows.cols, rows.cols});
}

Matrix<float> floats(const uint16_t* halves, size_t rows, size_t cols) {
  Matrix<float> made(rows, cols);
  plane_kernel::to_floats(halves, made.size(), made.data());
  return made;
}

void soften(Matrix<float>& scores, float cap) {
  if (cap == 0) return;
  for (float& v : scores.flat()) v = cap * std::tanh(v / cap);
}

float largest(MatrixView<const float> values) {
  float most = 0;
  for (size_t r = 0; r < values.rows; ++r) {
    for (float v : values.row(r)) most = std::max(most, v);
  }
  return most;
}

}  // namespace

// What attention has come to over some tokens: [query rows x columns of values], and of each row
// the largest score and the sum of exp(score - largest). A query row is one head of one token.
struct LayerCache::Part {
  Part(size_t rows, size_t cols) : sums(rows, cols), peak(rows, -INFINITY), total(rows) {}

  // Scores [rows x n] become weights; what came before shrinks where the peak rises.
  void to_weights(MatrixView<float> scores) {
    for (size_t r = 0; r < scores.rows; ++r) {
      const auto row = scores.row(r);
      const float most = *std::max_element(row.begin(), row.end());
      if (most > peak[r]) {
        const float shrink = std::exp(peak[r] - most);
        for (float& v : sums.row(r)) v *= shrink;
        total[r] *= shrink;
        peak[r] = most;
      }
      total[r] += plane_kernel::to_weights(row.data(), row.size(), peak[r]);
    }
  }

  Matrix<float> sums;
  std::vector<float> peak, total;
};

LayerCache::LayerCache(const LiveForm& form, size_t layer, const LiveOptions& options)
    : form_(&form), layer_(layer), options_(options) {}

size_t LayerCache::bytes() const {
  return (keys_.size() + values_.size()) * sizeof(uint16_t) + key_planes_.size() +
         value_planes_.size() + starts_.size() * sizeof(uint32_t);
}

size_t LayerCache::position_of_exact(size_t row) const {
  return row < options_.sinks ? row : row + blocks() * kRows;
}

Result<> LayerCache::append(MatrixView<const float> keys, MatrixView<const float> values) {
  while (exact_rows() >= options_.sinks + options_.window + kRows) KVS_TRY(move_block());
  append_halves(keys, keys_);
  append_halves(values, values_);
  count_ += keys.rows;
  return {};
}

// The oldest 64 tokens behind the sinks.
Result<> LayerCache::move_block() {
  const size_t start = position_of_exact(options_.sinks);
  const auto move = [&](Kind kind, std::vector<uint16_t>& rows, Bytes& planes) -> Result<> {
    const auto width = size_t(shape().width(kind));
    const auto from = rows.begin() + ptrdiff_t(options_.sinks * width);
    KVS_ASSIGN(const Bytes block, form_->encode(kind, layer_, floats(&*from, kRows, width), start));
    planes.resize(planes.size() - std::min(planes.size(), plane_kernel::kReadable));
    planes.insert(planes.end(), block.begin(), block.end());
    planes.resize(planes.size() + plane_kernel::kReadable);
    rows.erase(from, from + ptrdiff_t(kRows * width));
    return {};
  };
  KVS_TRY(move(Kind::key, keys_, key_planes_));
  KVS_TRY(move(Kind::value, values_, value_planes_));
  starts_.push_back(uint32_t(start));
  return {};
}

// Query rows of a KV head: of each token the query heads that share it.
struct LayerCache::Queries {
  Matrix<float> rows;        // [tokens * heads x key dim], times the scale
  Matrix<float> ways;        // rows, folded: [... x columns of the head]
  std::vector<float> rests;  // rows times the head's rest
};

size_t LayerCache::group() const {
  return size_t(form_->shape().query_heads_of(int(layer_)) / shape().kv_heads);
}

std::vector<LayerCache::Queries> LayerCache::prepare(MatrixView<const float> queries,
                                                     float scale) const {
  const auto dim = size_t(shape().key_dim);
  const FoldedUnit& folded = unit(Kind::key);
  std::vector<Queries> heads;
  for (size_t g = 0; g < size_t(shape().kv_heads); ++g) {
    Queries q{Matrix<float>(queries.rows * group(), dim), {}, {}};
    for (size_t r = 0; r < q.rows.rows(); ++r) {
      const float* from = queries.row(r / group()).data() + (g * group() + r % group()) * dim;
      for (size_t c = 0; c < dim; ++c) q.rows(r, c) = scale * from[c];
    }
    const HeadColumns own = folded.heads[g];
    q.ways = Matrix<float>(q.rows.rows(), own.count);
    const MatrixView<const float> out = folded.out.view();
    gemm(Trans::no, Trans::yes, 1.f, q.rows,
         out.row_range(own.first, own.count).col_range(g * dim, dim), 0.f, q.ways);
    for (size_t r = 0; r < q.rows.rows(); ++r) {
      const auto row = q.rows.row(r);
      q.rests.push_back(std::inner_product(row.begin(), row.end(), &folded.rest[g * dim], 0.f));
    }
    heads.push_back(std::move(q));
  }
  return heads;
}

// What scores of a block are without its columns: [rows x 64]. `turned`: query rows, turned back by
// the block's first position.
void LayerCache::begin_scores(const Queries& q, size_t g, const float* turned,
                              MatrixView<float> scores) const {
  for (size_t r = 0; r < scores.rows; ++r) {
    std::fill(scores.row(r).begin(), scores.row(r).end(), q.rests[r]);
  }
  const RotatingMean& mean = unit(Kind::key).mean;
  if (mean.empty()) return;
  const auto dim = size_t(shape().key_dim);
  plane_kernel::add_products(mean.turned.row(g * dim).data(), dim, {turned, dim}, scores.rows,
                             {scores.data, scores.stride});
}

// Query rows of each KV head, turned back to a block's first position.
std::vector<Matrix<float>> LayerCache::turned_back(std::span<const Queries> heads,
                                                   size_t start) const {
  const RotatingMean& mean = unit(Kind::key).mean;
  if (mean.empty()) return {};
  std::vector<Matrix<float>> turned;
  for (const Queries& q : heads) {
    turned.push_back(q.rows);
    const std::vector<int32_t> positions(q.rows.rows(), int32_t(start));
    mean.rope.undo(turned.back(), shape().key_dim, positions);
  }
  return turned;
}

// On to the next block: all turn by the same angles then.
void LayerCache::turn_by_block(std::vector<Matrix<float>>& rows) const {
  const auto& turns = unit(Kind::key).mean.turns;
  for (Matrix<float>& r : rows) {
    for (size_t i = 0; i < r.rows(); ++i) {
      const std::vector<float> x(r.row(i).begin(), r.row(i).end());
      for (size_t c = 0; c < x.size(); ++c) {
        const RotatingMean::Turn& t = turns[c];
        r(i, c) = t.own * x[c] + t.other * x[t.partner];
      }
    }
  }
}

void LayerCache::attend_blocks(std::span<const Queries> heads, float cap, size_t first, size_t end,
                               Part& part) const {
  const FoldedUnit &k = unit(Kind::key), &v = unit(Kind::value);
  const size_t rows = heads[0].rows.rows();
  Matrix<float> scores(heads.size() * rows, (end - first) * kRows);
  std::vector<int8_t> levels(std::max(k.columns(), v.columns()) * kRows);
  std::vector<Matrix<float>> turned = turned_back(heads, starts_[first]);
  for (size_t b = first; b < end; ++b) {
    if (b > first) turn_by_block(turned);
    plane_kernel::decode(k.planes(), &key_planes_[b * k.block_bytes], levels.data());
    for (size_t g = 0; g < heads.size(); ++g) {
      const auto own =
          scores.view().row_range(g * rows, rows).col_range((b - first) * kRows, kRows);
      begin_scores(heads[g], g, turned.empty() ? nullptr : turned[g].data(), own);
      plane_kernel::add_scores(&levels[k.heads[g].first * kRows], k.heads[g].count,
                               {heads[g].ways.data(), k.heads[g].count}, rows,
                               {own.data, own.stride});
    }
  }
  soften(scores, cap);
  part.to_weights(scores);
  for (size_t b = first; b < end; ++b) {
    const auto weights = scores.view().col_range((b - first) * kRows, kRows);
    if (largest(weights) < kNegligible) continue;
    plane_kernel::decode(v.planes(), &value_planes_[b * v.block_bytes], levels.data());
    for (size_t g = 0; g < heads.size(); ++g) {
      const HeadColumns own = v.heads[g];
      plane_kernel::add_sums(&levels[own.first * kRows], own.count,
                             {weights.row(g * rows).data(), weights.stride}, rows,
                             {part.sums.row(g * rows).data() + own.first, part.sums.cols()});
    }
  }
}

void LayerCache::attend_exact(std::span<const Queries> heads, float cap, size_t tokens,
                              Part& part) const {
  const auto dim = size_t(shape().key_dim), out = size_t(shape().value_dim);
  const size_t rows = heads[0].rows.rows(), n = exact_rows();
  const Matrix<float> k = floats(keys_.data(), n, size_t(shape().width(Kind::key)));
  const Matrix<float> v = floats(values_.data(), n, size_t(shape().width(Kind::value)));
  Matrix<float> scores(heads.size() * rows, n);
  for (size_t g = 0; g < heads.size(); ++g) {
    gemm(Trans::no, Trans::yes, 1.f, heads[g].rows, k.view().col_range(g * dim, dim), 0.f,
         scores.view().row_range(g * rows, rows));
  }
  soften(scores, cap);
  for (size_t r = 0; r < scores.rows(); ++r) {
    const size_t position = count_ - tokens + r % rows / group();
    for (size_t j = n; j-- > 0 && position_of_exact(j) > position;) scores(r, j) = -INFINITY;
  }
  part.to_weights(scores);
  for (size_t g = 0; g < heads.size(); ++g) {
    gemm(Trans::no, Trans::no, 1.f, scores.view().row_range(g * rows, rows),
         v.view().col_range(g * out, out), 0.f, part.sums.view().row_range(g * rows, rows));
  }
}

// Sums over columns become values of the head.
void LayerCache::unfold(Part& part, size_t rows) const {
  const auto dim = size_t(shape().value_dim);
  const FoldedUnit& v = unit(Kind::value);
  Matrix<float> values(part.sums.rows(), dim);
  for (size_t r = 0; r < values.rows(); ++r) {
    for (size_t c = 0; c < dim; ++c) values(r, c) = part.total[r] * v.rest[r / rows * dim + c];
  }
  for (size_t g = 0; g < v.heads.size(); ++g) {
    const HeadColumns own = v.heads[g];
    gemm(Trans::no, Trans::no, 1.f,
         part.sums.view().row_range(g * rows, rows).col_range(own.first, own.count),
         v.out.view().row_range(own.first, own.count).col_range(g * dim, dim), 1.f,
         values.view().row_range(g * rows, rows));
  }
  part.sums = std::move(values);
}

void LayerCache::attend(MatrixView<const float> queries, float scale, float cap,
                        MatrixView<float> out) const {
  const std::vector<Queries> heads = prepare(queries, scale);
  const size_t rows = heads[0].rows.rows(), all = rows * heads.size();
  const size_t tasks = (blocks() + kTask - 1) / kTask;
  const auto dim = size_t(shape().value_dim);
  std::vector<Part> parts(tasks, Part(all, unit(Kind::value).columns()));
  parts.emplace_back(all, dim);
  parallel_for(parts.size(), [&](size_t i) {
    if (i == tasks) return attend_exact(heads, cap, queries.rows, parts[i]);
    attend_blocks(heads, cap, i * kTask, std::min(blocks(), (i + 1) * kTask), parts[i]);
    unfold(parts[i], rows);
  });
  for (size_t r = 0; r < all; ++r) {
    float peak = -INFINITY, total = 0;
    for (const Part& part : parts) peak = std::max(peak, part.peak[r]);
    float* to = out.row(r % rows / group()).data() + (r / rows * group() + r % group()) * dim;
    std::fill_n(to, dim, 0.f);
    for (const Part& part : parts) {
      const float share = std::exp(part.peak[r] - peak);
      total += share * part.total[r];
      for (size_t c = 0; c < dim; ++c) to[c] += share * part.sums(r, c);
    }
    for (size_t c = 0; c < dim; ++c) to[c] /= total;
  }
}

}  // namespace kvsplice::live
