#include "live/layer_cache.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/threads.h"
#include "linalg/linalg.h"
#include "live/rounded_rows.h"

namespace kvsplice::live {

namespace {

constexpr size_t kRows = plane_kernel::kRows;
constexpr size_t kTask = 4;           // groups of a thread's task, whatever the number of threads
constexpr size_t kDense = 32;         // query rows of a head from which on rows are decoded for all
constexpr float kNegligible = 1e-6f;  // weights below it, in all of a block, leave its values out

// For `more` values besides those that are there, of at most `most`: vectors that grow by
// themselves may take twice as much.
template <class T>
void make_room(std::vector<T>& values, size_t more, size_t most) {
  const size_t wanted = values.size() + more;
  if (wanted > values.capacity()) values.reserve(std::min(most, 2 * wanted));
}

void append_halves(MatrixView<const float> rows, std::vector<uint16_t>& to) {
  const size_t before = to.size();
  to.resize(before + rows.rows * rows.cols);
  to_halves(rows, {&to[before], rows.rows, rows.cols, rows.cols});
}

Matrix<float> floats(const plane_kernel::HalfRows& rows) {
  Matrix<float> made(rows.rows, rows.dim);
  for (size_t r = 0; r < rows.rows; ++r) {
    plane_kernel::to_floats(rows.first + r * rows.step, rows.dim, made.row(r).data());
  }
  return made;
}

void soften(MatrixView<float> scores, float cap) {
  if (cap == 0) return;
  for (size_t r = 0; r < scores.rows; ++r) {
    for (float& v : scores.row(r)) v = cap * std::tanh(v / cap);
  }
}

void join_rows(std::span<float> row, float own, std::span<const float> other, float more) {
  for (size_t i = 0; i < row.size(); ++i) row[i] = own * row[i] + more * other[i];
}

// Bytes of a block's levels as weights of a product.
size_t weight_bytes(const Band& band) { return (band.columns() + 15) / 16 * 16 * kRows; }

}  // namespace

// What is asked. A query row is one query head of one token; those of a KV head stand together.
struct LayerCache::Asked {
  size_t tokens, heads, rows;  // of each KV head
  float cap;
  Matrix<float> queries;  // [heads * rows x key dim], times the scale
  Matrix<float> rests;    // [grades x heads * rows]: rows times the rest of keys
  std::vector<std::vector<RoundedRows>> ways;  // by band and grade: rows, folded
  std::vector<Matrix<float>> out[2];           // if dense, of keys' and values' bands

  size_t all() const { return heads * rows; }
  bool dense() const { return rows >= kDense; }

  // Of a head and its columns of rows of keys [n x dim]: [rows x n], before soft caps.
  void ask(size_t head, MatrixView<const float> keys, MatrixView<float> scores) const {
    gemm(Trans::no, Trans::yes, 1.f, queries.view().row_range(head * rows, rows), keys, 0.f,
         scores);
  }

  // Its rows of `to` [heads * rows x value dim] += weights [rows x n] of rows of values [n x dim]
  void add(size_t head, MatrixView<const float> weights, MatrixView<const float> values,
           Matrix<float>& to) const {
    gemm(Trans::no, Trans::no, 1.f, weights, values, 1.f, to.view().row_range(head * rows, rows));
  }
};

// What attention has come to over some tokens, for each query row: the largest score, the sum of
// exp(score - largest), and the values that these weigh.
struct LayerCache::Part {
  Part(size_t rows, size_t dim) : values(rows, dim), peak(rows, -INFINITY), total(rows) {}

  void add_columns(const FoldedUnit& unit, size_t rows_of_head) {
    sums.resize(unit.bands.size());
    for (size_t b = 0; b < unit.bands.size(); ++b) {
      for (const Grade& g : unit.bands[b].grades) {
        sums[b].emplace_back(unit.bands[b].heads * rows_of_head, g.count());
      }
    }
    grade_totals = Matrix<float>(unit.rest.rows(), peak.size());
  }

  // Scores of rows from `first` on [rows x n] become weights; what came before shrinks where the
  // peak rises. Rows that see none of these tokens have weights of 0.
  void to_weights(MatrixView<float> scores, size_t first = 0) {
    for (size_t r = first; r < first + scores.rows; ++r) {
      const auto row = scores.row(r - first);
      const float most = plane_kernel::largest(row.data(), row.size());
      if (most == -INFINITY) {
        std::fill(row.begin(), row.end(), 0.f);
        continue;
      }
      if (most > peak[r]) {
        const float shrink = std::exp(peak[r] - most);
        for (float& v : values.row(r)) v *= shrink;
        total[r] *= shrink;
        peak[r] = most;
      }
      total[r] += plane_kernel::to_weights(row.data(), row.size(), peak[r]);
    }
  }

  Matrix<float> values;  // [rows x value dim]
  std::vector<float> peak, total;
  // Of tokens in groups, instead of values: sums over columns by band and grade, and weights by
  // grade.
  std::vector<std::vector<Matrix<float>>> sums;
  Matrix<float> grade_totals;
};

LayerCache::LayerCache(const LiveForm& form, size_t layer, const LiveOptions& options)
    : form_(&form), layer_(layer), options_(options) {}

size_t LayerCache::row_bytes(const LiveForm& form, size_t layer) {
  const LayerShape& shape = form.shape().layers[layer];
  return size_t(shape.width(Kind::key) + shape.width(Kind::value)) * sizeof(uint16_t) +
         sizeof(float);
}

size_t LayerCache::group_bytes(const LiveForm& form, size_t layer) {
  return sizeof(Group) + form.unit(Kind::key, layer).group_bytes +
         form.unit(Kind::value, layer).group_bytes + 2 * plane_kernel::kReadable;
}

CellBytes LayerCache::bytes() const {
  CellBytes bytes;
  bytes.tokens = groups_.size() * kGroup;
  bytes.f16 = bytes.tokens * size_t(shape().width(Kind::key) + shape().width(Kind::value)) *
              sizeof(uint16_t);
  for (const Group& g : groups_) bytes.coded += sizeof(Group) + g.keys.size() + g.values.size();
  bytes.exact =
      (keys_.size() + values_.size()) * sizeof(uint16_t) + attention_.size() * sizeof(float);
  return bytes;
}

size_t LayerCache::position_of_exact(size_t row) const {
  return row < options_.sinks ? row : row + coded_;
}

size_t LayerCache::query_heads_per_head() const {
  return size_t(form_->shape().query_heads_of(int(layer_)) / shape().kv_heads);
}

Result<> LayerCache::append(MatrixView<const float> keys, MatrixView<const float> values) {
  while (exact_rows() >= options_.sinks + options_.window + kGroup) KVS_TRY(move_group());
  const size_t most = options_.sinks + options_.window + kGroup - 1 + keys.rows;
  make_room(keys_, keys.rows * keys.cols, most * keys.cols);
  make_room(values_, values.rows * values.cols, most * values.cols);
  make_room(attention_, keys.rows, most);
  append_halves(keys, keys_);
  append_halves(values, values_);
  attention_.resize(attention_.size() + keys.rows);
  forget(shape().first_seen(count_));
  count_ += keys.rows;
  return {};
}

// Groups that no token from now on sees.
void LayerCache::forget(size_t position) {
  const auto seen = [&](const Group& group) { return group.end() > position; };
  groups_.erase(groups_.begin(), std::find_if(groups_.begin(), groups_.end(), seen));
}

// Of the oldest tokens behind the sinks.
Result<GroupColumns> LayerCache::oldest(Kind kind) const {
  const auto width = size_t(shape().width(kind));
  const std::vector<uint16_t>& rows = kind == Kind::key ? keys_ : values_;
  return form_->columns(kind, layer_, floats({&rows[options_.sinks * width], kGroup, width, width}),
                        first_exact());
}

// Those that most is at stake for, by the query that saw them, come first; within a block they
// stand as they came.
std::array<uint8_t, kGroup> LayerCache::order_of(const GroupColumns& keys,
                                                 const GroupColumns& values) const {
  std::vector<float> stakes = form_->at_stake(Kind::key, layer_, keys);
  const std::vector<float> of_values = form_->at_stake(Kind::value, layer_, values);
  for (size_t i = 0; i < kGroup; ++i) {
    const size_t row = options_.sinks + i;
    stakes[i] += of_values[i];
    stakes[i] *= attention_[row] / float(count_ - position_of_exact(row));
  }
  std::array<uint8_t, kGroup> order;
  std::iota(order.begin(), order.end(), uint8_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](uint8_t a, uint8_t b) { return stakes[a] > stakes[b]; });
  for (size_t b = 0; b < kBlocks; ++b) {
    std::sort(order.begin() + ptrdiff_t(b * kRows), order.begin() + ptrdiff_t((b + 1) * kRows));
  }
  return order;
}

Result<> LayerCache::move_group() {
  KVS_ASSIGN(const GroupColumns keys, oldest(Kind::key));
  KVS_ASSIGN(const GroupColumns values, oldest(Kind::value));
  Group group{first_exact(), order_of(keys, values), {}, {}};
  group.keys = form_->encode(Kind::key, layer_, keys, group.order);
  group.values = form_->encode(Kind::value, layer_, values, group.order);
  const auto drop = [&](auto& rows, size_t width) {
    const auto first = rows.begin() + ptrdiff_t(options_.sinks * width);
    rows.erase(first, first + ptrdiff_t(kGroup * width));
  };
  drop(keys_, size_t(shape().width(Kind::key)));
  drop(values_, size_t(shape().width(Kind::value)));
  drop(attention_, 1);
  groups_.push_back(std::move(group));
  coded_ += kGroup;
  return {};
}

LayerCache::Asked LayerCache::prepare(MatrixView<const float> queries, float scale,
                                      float cap) const {
  const auto dim = size_t(shape().key_dim), heads = size_t(shape().kv_heads);
  const size_t shared = query_heads_per_head();
  Asked asked{queries.rows, heads, queries.rows * shared, cap, {}, {}, {}, {}};
  asked.queries = Matrix<float>(asked.all(), dim);
  for (size_t r = 0; r < asked.all(); ++r) {
    const size_t head = r / asked.rows, i = r % asked.rows;
    const float* from = queries.row(i / shared).data() + (head * shared + i % shared) * dim;
    for (size_t c = 0; c < dim; ++c) asked.queries(r, c) = scale * from[c];
  }
  if (groups_.empty()) return asked;
  if (asked.dense()) {
    for (Kind kind : {Kind::key, Kind::value}) {
      for (const Band& band : unit(kind).bands) {
        asked.out[size_t(kind)].push_back(band.out.floats());
      }
    }
    return asked;
  }
  const FoldedUnit& keys = unit(Kind::key);
  asked.rests = Matrix<float>(keys.rest.rows(), asked.all());
  for (size_t g = 0; g < keys.rest.rows(); ++g) {
    for (size_t r = 0; r < asked.all(); ++r) {
      const auto row = asked.queries.row(r);
      asked.rests(g, r) =
          std::inner_product(row.begin(), row.end(), &keys.rest(g, r / asked.rows * dim), 0.f);
    }
  }
  RoundedRows rounded(asked.all(), dim, 2);
  const std::vector<float> as_they_are(dim, 1.f);
  for (size_t r = 0; r < asked.all(); ++r) rounded.set(r, asked.queries.row(r), as_they_are);
  for (const Band& band : keys.bands) asked.ways.push_back(fold(asked, band, rounded));
  return asked;
}

// Queries by columns, for each grade.
std::vector<RoundedRows> LayerCache::fold(const Asked& asked, const Band& band,
                                          const RoundedRows& queries) {
  const size_t rows = band.heads * asked.rows;
  Matrix<float> ways(rows, band.columns());
  std::vector<float> scratch;
  for (size_t h = 0; h < band.heads; ++h) {
    band.out.fold(h, queries, (band.head + h) * asked.rows,
                  ways.view().row_range(h * asked.rows, asked.rows), scratch);
  }
  std::vector<RoundedRows> folded;
  for (const Grade& grade : band.grades) {
    RoundedRows& own = folded.emplace_back(rows, grade.count(), 1);
    std::vector<float> chosen(grade.count());
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < chosen.size(); ++c) chosen[c] = ways(r, grade.columns[c]);
      own.set(r, chosen, grade.scales);
    }
  }
  return folded;
}

void LayerCache::attend_groups(const Asked& asked, size_t first, size_t end, Part& part) const {
  const FoldedUnit& keys = unit(Kind::key);
  Matrix<float> scores(asked.all(), (end - first) * kGroup), means(asked.all(), kGroup), turned;
  if (keys.mean) turned = keys.mean->turned(asked.queries, groups_[first].start);
  const auto of_group = [&](size_t i) {
    return scores.view().col_range((i - first) * kGroup, kGroup);
  };
  for (size_t i = first; i < end; ++i) {
    if (keys.mean) {
      keys.mean->products(turned, means);
      keys.mean->turn_on(turned);
    }
    ask_group(asked, groups_[i], means, of_group(i));
  }
  soften(scores, asked.cap);
  for (size_t i = first; i < end; ++i) hide(asked, groups_[i], of_group(i));
  part.to_weights(scores);
  part.add_columns(unit(Kind::value), asked.rows);
  for (size_t i = first; i < end; ++i) add_sums(groups_[i], of_group(i), part);
}

void LayerCache::ask_group(const Asked& asked, const Group& group, const Matrix<float>& means,
                           MatrixView<float> scores) const {
  const FoldedUnit& keys = unit(Kind::key);
  Matrix<float> products(asked.all(), kRows);
  std::vector<float> scratch;
  Bytes levels;
  for (size_t b = 0; b < kBlocks; ++b) {
    const size_t grade = keys.grade_of[b];
    for (size_t n = 0; n < keys.bands.size(); ++n) {
      const Band& band = keys.bands[n];
      const Grade& own = band.grades[grade];
      levels.resize(weight_bytes(band));
      plane_kernel::decode_by_token(own.view(), &group.keys[keys.first_byte[b] + own.first_byte],
                                    levels.data());
      asked.ways[n][grade].multiply(
          0, {levels.data(), ones(kRows).data()},
          products.view().row_range(band.head * asked.rows, band.heads * asked.rows), scratch);
    }
    for (size_t r = 0; r < asked.all(); ++r) {
      plane_kernel::add_in_order(products.row(r).data(), means.row(r).data(),
                                 &group.order[b * kRows], asked.rests(grade, r),
                                 &scores(r, b * kRows));
    }
  }
}

void LayerCache::add_sums(const Group& group, MatrixView<const float> weights, Part& part) const {
  const FoldedUnit& values = unit(Kind::value);
  const size_t rows = weights.rows / size_t(shape().kv_heads);
  std::vector<float> scratch;
  Bytes levels;
  RoundedRows rounded(weights.rows, kRows, 1);
  for (size_t b = 0; b < kBlocks; ++b) {
    const auto own = weights.col_range(b * kRows, kRows);
    const size_t grade = values.grade_of[b];
    float largest = 0;
    for (size_t r = 0; r < own.rows; ++r) {
      rounded.set(r, own.row(r), ones(kRows));
      part.grade_totals(grade, r) += rounded.total(r);
      largest = std::max(largest, rounded.largest(r));
    }
    if (largest < kNegligible) continue;
    for (size_t n = 0; n < values.bands.size(); ++n) {
      const Band& band = values.bands[n];
      const Grade& own_grade = band.grades[grade];
      levels.resize(weight_bytes(band));
      plane_kernel::decode_by_column(own_grade.view(),
                                     &group.values[values.first_byte[b] + own_grade.first_byte],
                                     levels.data());
      rounded.add_to(band.head * rows, {levels.data(), own_grade.scales.data()},
                     part.sums[n][grade], scratch);
    }
  }
}

// With what came of other tokens.
void LayerCache::join(const Part& other, Part& all) const {
  const std::vector<Band>& bands = unit(Kind::value).bands;
  const size_t rows = all.peak.size() / size_t(shape().kv_heads);
  for (size_t r = 0; r < all.peak.size(); ++r) {
    if (other.peak[r] == -INFINITY) continue;
    const float most = std::max(all.peak[r], other.peak[r]);
    const float own = std::exp(all.peak[r] - most), more = std::exp(other.peak[r] - most);
    all.peak[r] = most;
    all.total[r] = own * all.total[r] + more * other.total[r];
    join_rows(all.values.row(r), own, other.values.row(r), more);
    for (size_t g = 0; g < other.grade_totals.rows(); ++g) {
      all.grade_totals(g, r) = own * all.grade_totals(g, r) + more * other.grade_totals(g, r);
    }
    for (size_t n = 0; n < other.sums.size(); ++n) {
      const size_t first = bands[n].head * rows;
      if (r < first || r >= first + bands[n].heads * rows) continue;
      for (size_t g = 0; g < other.sums[n].size(); ++g) {
        join_rows(all.sums[n][g].row(r - first), own, other.sums[n][g].row(r - first), more);
      }
    }
  }
}

// Sums over columns become values.
void LayerCache::unfold(Part& part) const {
  const FoldedUnit& values = unit(Kind::value);
  const size_t dim = part.values.cols(), rows = part.values.rows() / size_t(shape().kv_heads);
  std::vector<float> scratch;
  for (size_t n = 0; n < values.bands.size(); ++n) {
    const Band& band = values.bands[n];
    Matrix<float> sums(band.heads * rows, band.columns());
    for (size_t g = 0; g < band.grades.size(); ++g) {
      for (size_t r = 0; r < sums.rows(); ++r) {
        for (size_t c = 0; c < band.grades[g].count(); ++c) {
          sums(r, band.grades[g].columns[c]) += part.sums[n][g](r, c);
        }
      }
    }
    const RoundedRows rounded = band.out.sums(sums);
    for (size_t h = 0; h < band.heads; ++h) {
      band.out.unfold(h, rounded, h * rows,
                      part.values.view().row_range((band.head + h) * rows, rows), scratch);
    }
  }
  for (size_t r = 0; r < part.values.rows(); ++r) {
    for (size_t g = 0; g < values.rest.rows(); ++g) {
      for (size_t c = 0; c < dim; ++c) {
        part.values(r, c) += part.grade_totals(g, r) * values.rest(g, r / rows * dim + c);
      }
    }
  }
}

// A group's rows, block by block.
Matrix<float> LayerCache::decode_rows(const Asked& asked, Kind kind, const Group& group) const {
  const FoldedUnit& folded = unit(kind);
  const size_t dim = size_t(shape().heads_dim(kind));
  Matrix<float> rows(kGroup, folded.width());
  std::vector<int8_t> levels;
  for (size_t r = 0; r < kGroup; ++r) {
    std::copy_n(folded.rest.row(folded.grade_of[r / kRows]).begin(), folded.width(),
                rows.row(r).begin());
  }
  for (size_t n = 0; n < folded.bands.size(); ++n) {
    const Band& band = folded.bands[n];
    for (size_t b = 0; b < kBlocks; ++b) {
      const Grade& grade = band.grades[folded.grade_of[b]];
      levels.resize(grade.count() * kRows);
      plane_kernel::decode(grade.view(), group.of(kind) + folded.first_byte[b] + grade.first_byte,
                           levels.data());
      Matrix<float> columns(band.columns(), kRows);
      for (size_t c = 0; c < grade.count(); ++c) {
        const auto to = columns.row(grade.columns[c]);
        for (size_t t = 0; t < kRows; ++t) to[t] = grade.scales[c] * float(levels[c * kRows + t]);
      }
      gemm(Trans::yes, Trans::no, 1.f, columns, asked.out[size_t(kind)][n], 1.f,
           rows.view().row_range(b * kRows, kRows).col_range(band.head * dim, band.heads * dim));
    }
  }
  if (!folded.mean) return rows;
  const Matrix<float> mean = folded.mean->of_group(group.start);
  for (size_t r = 0; r < kGroup; ++r) {
    for (size_t c = 0; c < rows.cols(); ++c) rows(r, c) += mean(c, group.order[r]);
  }
  return rows;
}

void LayerCache::attend_densely(const Asked& asked, size_t first, size_t end, Part& part) const {
  const size_t key_dim = asked.queries.cols(), value_dim = part.values.cols();
  for (size_t i = first; i < end; ++i) {
    const Matrix<float> keys = decode_rows(asked, Kind::key, groups_[i]);
    const Matrix<float> values = decode_rows(asked, Kind::value, groups_[i]);
    Matrix<float> scores(asked.all(), kGroup);
    const auto of_head = [&](size_t h) {
      return scores.view().row_range(h * asked.rows, asked.rows);
    };
    for (size_t h = 0; h < asked.heads; ++h) {
      asked.ask(h, keys.view().col_range(h * key_dim, key_dim), of_head(h));
    }
    soften(scores, asked.cap);
    hide(asked, groups_[i], scores);
    part.to_weights(scores);
    for (size_t h = 0; h < asked.heads; ++h) {
      asked.add(h, of_head(h), values.view().col_range(h * value_dim, value_dim), part.values);
    }
  }
}

// Whether all that ask see all tokens at positions [first, last].
bool LayerCache::all_see(const Asked& asked, size_t first, size_t last) const {
  return first >= shape().first_seen(count_ - 1) && last <= count_ - asked.tokens;
}

// Tokens at these positions, from rows that do not see them.
void LayerCache::hide(const Asked& asked, std::span<const size_t> positions,
                      MatrixView<float> scores) const {
  for (size_t r = 0; r < scores.rows; ++r) {
    const size_t own = count_ - asked.tokens + r % asked.rows / query_heads_per_head();
    const size_t first = shape().first_seen(own);
    for (size_t j = 0; j < positions.size(); ++j) {
      if (positions[j] < first || positions[j] > own) scores(r, j) = -INFINITY;
    }
  }
}

void LayerCache::hide(const Asked& asked, const Group& group, MatrixView<float> scores) const {
  if (all_see(asked, group.start, group.end() - 1)) return;
  std::array<size_t, kGroup> positions;
  for (size_t j = 0; j < kGroup; ++j) positions[j] = group.start + group.order[j];
  hide(asked, positions, scores);
}

void LayerCache::hide_exact(const Asked& asked, MatrixView<float> scores) const {
  if (all_see(asked, position_of_exact(0), count_ - 1)) return;
  std::vector<size_t> positions(exact_rows());
  for (size_t j = 0; j < positions.size(); ++j) positions[j] = position_of_exact(j);
  hide(asked, positions, scores);
}

// Of the rows that are kept as they are, and of one KV head. Scores become weights.
void LayerCache::attend_exact(const Asked& asked, size_t head, MatrixView<float> scores,
                              Part& part) const {
  const size_t first = head * asked.rows;
  const auto keys = exact(Kind::key, head), values = exact(Kind::value, head);
  if (asked.dense()) {
    asked.ask(head, floats(keys), scores);
  } else {
    plane_kernel::ask_rows(keys, asked.queries.row(first).data(), asked.rows, scores.data);
  }
  soften(scores, asked.cap);
  hide_exact(asked, scores);
  part.to_weights(scores, first);
  if (asked.dense()) {
    asked.add(head, scores, floats(values), part.values);
  } else {
    plane_kernel::add_rows(values, scores.data, asked.rows, part.values.row(first).data());
  }
}

plane_kernel::HalfRows LayerCache::exact(Kind kind, size_t head) const {
  const auto width = size_t(shape().width(kind)), dim = size_t(shape().heads_dim(kind));
  return {(kind == Kind::key ? keys_ : values_).data() + head * dim, exact_rows(), width, dim};
}

// What errors of a row do to outputs grows with the square of its weights.
void LayerCache::note_attention(const Matrix<float>& weights, std::span<const float> peaks,
                                const Part& all) {
  for (size_t r = 0; r < weights.rows(); ++r) {
    const float share = std::exp(peaks[r] - all.peak[r]) / all.total[r];
    const auto row = weights.row(r);
    for (size_t j = 0; j < row.size(); ++j) attention_[j] += share * row[j] * share * row[j];
  }
}

void LayerCache::attend(MatrixView<const float> queries, float scale, const Scoring& scoring,
                        MatrixView<float> out) {
  const Asked asked = prepare(queries, scale, scoring.soft_cap);
  const size_t tasks = (groups_.size() + kTask - 1) / kTask;
  const auto dim = size_t(shape().value_dim);
  std::vector<Part> parts(tasks, Part(asked.all(), dim));
  Part all(asked.all(), dim);
  Matrix<float> weights(asked.all(), exact_rows());
  parallel_for(tasks + asked.heads, [&](size_t i) {
    if (i >= tasks) {
      const size_t head = i - tasks;
      const auto own = weights.view().row_range(head * asked.rows, asked.rows);
      return attend_exact(asked, head, own, all);
    }
    const size_t first = i * kTask, end = std::min(groups_.size(), first + kTask);
    asked.dense() ? attend_densely(asked, first, end, parts[i])
                  : attend_groups(asked, first, end, parts[i]);
  });
  const std::vector<float> peaks = all.peak;  // of the exact rows
  if (!asked.dense()) all.add_columns(unit(Kind::value), asked.rows);
  for (const Part& part : parts) join(part, all);
  if (!asked.dense()) unfold(all);
  const size_t shared = query_heads_per_head();
  for (size_t r = 0; r < asked.all(); ++r) {
    const size_t i = r % asked.rows, head = r / asked.rows * shared + i % shared;
    const float sink = scoring.sinks.empty() ? -INFINITY : scoring.sinks[head];
    const float most = std::max(all.peak[r], sink), share = std::exp(all.peak[r] - most);
    all.peak[r] = most;
    all.total[r] = share * all.total[r] + std::exp(sink - most);
    float* to = out.row(i / shared).data() + head * dim;
    for (size_t c = 0; c < dim; ++c) to[c] = share * all.values(r, c) / all.total[r];
  }
  note_attention(weights, peaks, all);
}

}  // namespace kvsplice::live
