#include "analyse/unit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "analyse/sequence.h"
#include "core/threads.h"
#include "solve/solve.h"

namespace kvsplice::analyse {

namespace {

constexpr size_t kRun = 32;

Result<> check_finite(MatrixView<const float> rows) {
  for (size_t r = 0; r < rows.rows; ++r) {
    for (size_t c = 0; c < rows.cols; ++c) {
      if (!std::isfinite(rows(r, c))) {
        return Error{
            ErrorKind::numeric,
            fmt::format("value {} at row {}, column {}; only finite values can be analysed",
                        rows(r, c), r, c)};
      }
    }
  }
  return {};
}

using Role = Texts::Role;

// Those of rows [first, first + n) whose role is wanted.
Matrix<float> selected(MatrixView<const float> rows, size_t first, size_t n, const Texts& texts,
                       const std::function<bool(Role)>& wanted) {
  const auto roles = std::span(texts.roles()).subspan(first, n);
  Matrix<float> out(std::count_if(roles.begin(), roles.end(), wanted), rows.cols);
  for (size_t i = 0, at = 0; i < n; ++i) {
    if (wanted(roles[i]))
      std::copy_n(rows.row(first + i).begin(), rows.cols, out.row(at++).begin());
  }
  return out;
}

bool is_sink(Role role) { return role == Role::sink; }
bool is_fit(Role role) { return role == Role::fit; }
bool is_test(Role role) { return role == Role::test; }
bool is_coded(Role role) { return role != Role::sink; }

Result<RankProfile> rank_of(const Moments& head) {
  KVS_ASSIGN(const Eigen gram, symmetric_eigen(head.products));
  std::vector<double> singular;
  for (double v : gram.values) singular.push_back(std::sqrt(std::max(v, 0.0)));
  singular.resize(std::min(singular.size(), head.count));
  return rank_profile(singular);
}

void add(HeadAnalysis& head, const HeadAnalysis& of_text, double weight) {
  for (size_t i = 0; i <= kLags; ++i) {
    head.autocorrelation[i] += weight * of_text.autocorrelation[i];
  }
  for (size_t i = 0; i < head.low_energy.size(); ++i) {
    head.low_energy[i] += weight * of_text.low_energy[i];
  }
  const RankProfile& rank = of_text.rank;
  head.rank.effective += weight * rank.effective;
  head.rank.full += weight * rank.full;
  head.rank.ratio += weight * rank.ratio;
  head.rank.top1 += weight * rank.top1;
  head.rank.top10 += weight * rank.top10;
}

// What looks along time: text by text, averaged.
Result<HeadAnalysis> along_time(MatrixView<const float> rows, const Texts& texts,
                                const std::vector<Moments>& of_texts, size_t first_column) {
  HeadAnalysis head;
  head.autocorrelation.resize(kLags + 1);
  size_t at = 0;
  for (size_t t = 0; t < texts.lengths().size(); ++t) {
    const size_t length = texts.lengths()[t];
    const auto part = rows.row_range(at, length);
    HeadAnalysis one;
    one.autocorrelation = autocorrelation(part, kLags);
    one.low_energy = low_frequency_energy(part, texts.dft(length));
    KVS_ASSIGN(one.rank, rank_of(of_texts[t].columns(first_column, rows.cols)));
    add(head, one, 1.0 / double(texts.lengths().size()));
    at += length;
  }
  return head;
}

// One head, and what its KLT leaves: the variances that the layer pools.
struct HeadResult {
  HeadAnalysis head;
  std::vector<double> variances;
};

Result<HeadResult> analyse_head(MatrixView<const float> rows, const Texts& texts,
                                const std::vector<Moments>& of_texts, const Halves& layer,
                                size_t first_column) {
  HeadResult result;
  KVS_ASSIGN(result.head, along_time(rows, texts, of_texts, first_column));
  const Halves halves = layer.columns(first_column, rows.cols);
  Moments all = halves.fit;
  all += halves.test;
  KVS_ASSIGN(result.variances, klt_variances(halves));
  KVS_ASSIGN(result.head.spectrum, principal_shares(all));
  result.head.klt = rates(result.variances, halves.test.energy());
  result.head.mean_share = all.mean_share();
  result.head.kurtosis = excess_kurtosis(selected(rows, 0, rows.rows, texts, is_coded));
  return result;
}

struct UnitMoments {
  std::vector<Moments> texts;  // of all rows of each
  Halves all;                  // of all texts, sinks left out
};

UnitMoments moments_of(MatrixView<const float> rows, const Texts& texts) {
  UnitMoments m;
  size_t at = 0;
  for (size_t length : texts.lengths()) {
    const Moments fit(selected(rows, at, length, texts, is_fit));
    const Moments test(selected(rows, at, length, texts, is_test));
    m.all.fit += fit;
    m.all.test += test;
    Moments text(selected(rows, at, length, texts, is_sink));
    text += fit;
    text += test;
    m.texts.push_back(std::move(text));
    at += length;
  }
  return m;
}

Result<LayerAnalysis> analyse_layer(const Halves& halves, const std::vector<HeadResult>& heads) {
  LayerAnalysis layer;
  std::vector<double> pooled;
  const double weight = 1.0 / double(heads.size());
  for (const auto& [head, variances] : heads) {
    layer.lag1 += weight * head.lag1();
    layer.low10 += weight * head.low10();
    layer.rank_ratio += weight * head.rank.ratio;
    layer.kurtosis += weight * head.kurtosis;
    pooled.insert(pooled.end(), variances.begin(), variances.end());
  }
  Moments all = halves.fit;
  all += halves.test;
  const double energy = halves.test.energy();
  layer.mean_share = all.mean_share();
  layer.coordinate = rates(coordinate_variances(halves), energy);
  layer.head = rates(pooled, energy);
  KVS_ASSIGN(const auto joint, klt_variances(halves));
  layer.whole = rates(joint, energy);
  KVS_ASSIGN(layer.spectrum, principal_shares(all));
  return layer;
}

Role role_of(size_t t) {
  if (t < kSinks) return Role::sink;
  return t / kRun % 2 == 0 ? Role::fit : Role::test;
}

}  // namespace

Texts::Texts(std::vector<size_t> lengths) : lengths_(std::move(lengths)) {
  for (size_t length : lengths_) {
    dfts_.try_emplace(length, length);
    for (size_t t = 0; t < length; ++t) roles_.push_back(role_of(t));
  }
}

Result<UnitAnalysis> analyse_unit(MatrixView<const float> rows, size_t head_dim,
                                  const Texts& texts) {
  KVS_TRY(check_finite(rows));
  const UnitMoments moments = moments_of(rows, texts);
  std::vector<Result<HeadResult>> results(rows.cols / head_dim);
  parallel_for(results.size(), [&](size_t h) {
    const size_t first = h * head_dim;
    results[h] =
        analyse_head(rows.col_range(first, head_dim), texts, moments.texts, moments.all, first);
  });
  std::vector<HeadResult> heads;
  for (auto& r : results) {
    KVS_ASSIGN(HeadResult head, std::move(r));
    head.head.head = static_cast<int>(heads.size());
    heads.push_back(std::move(head));
  }
  UnitAnalysis unit;
  KVS_ASSIGN(unit.layer, analyse_layer(moments.all, heads));
  for (auto& h : heads) unit.heads.push_back(std::move(h.head));
  return unit;
}

}  // namespace kvsplice::analyse
