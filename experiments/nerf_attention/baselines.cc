#include "experiments/nerf_attention/baselines.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "functions/dct.h"
#include "functions/fourier.h"
#include "functions/least_squares.h"
#include "solve/solve.h"

namespace kvsplice::experiment::nerf {

namespace {

using Rows = MatrixView<const float>;

struct Rebuilt {
  Matrix<float> rows;
  size_t numbers;
};

Rebuilt by_svd(const Svd& svd, size_t rank) {
  const size_t n = svd.u.rows(), d = svd.vt.cols();
  Matrix<float> scaled(n, rank), rows(n, d);
  for (size_t r = 0; r < n; ++r) {
    for (size_t i = 0; i < rank; ++i) scaled(r, i) = svd.u(r, i) * svd.values[i];
  }
  gemm(Trans::no, Trans::no, 1.f, scaled, svd.vt.view().row_range(0, rank), 0.f, rows);
  return {std::move(rows), rank * (n + 1 + d)};
}

// Bases work on standardised columns, whose means and deviations are stored too, as a network's
// are.
Matrix<float> restore(Matrix<float> standard, const functions::ColumnScale& scale) {
  for (size_t r = 0; r < standard.rows(); ++r) {
    for (size_t c = 0; c < standard.cols(); ++c) {
      standard(r, c) = standard(r, c) * scale.deviation[c] + scale.mean[c];
    }
  }
  return standard;
}

Result<Rebuilt> by_dct(Rows rows, size_t count) {
  const auto scale = functions::column_scale(rows);
  const functions::Dct dct(rows.rows);
  const auto all = dct.forward(functions::standardise(rows, scale));
  const auto kept = functions::strongest_rows(all, count);
  Matrix<float> some(kept.size(), rows.cols);
  for (size_t i = 0; i < kept.size(); ++i) {
    std::copy_n(all.row(kept[i]).begin(), rows.cols, some.row(i).begin());
  }
  // An index is 16 bits, half a number.
  const size_t numbers = kept.size() * rows.cols + (kept.size() + 1) / 2 + 2 * rows.cols;
  return Rebuilt{restore(dct.inverse(kept, some), scale), numbers};
}

Result<Rebuilt> by_fourier(Rows rows, size_t count) {
  const auto scale = functions::column_scale(rows);
  const auto standard = functions::standardise(rows, scale);
  const size_t band = functions::bandwidth(functions::Dct(rows.rows).forward(standard), 0.8);
  const auto frequencies =
      functions::fourier_frequencies(count / 2, std::max(double(band) / 2, double(count / 2)), 0);
  const auto features = functions::fourier_features(frequencies, rows.rows);
  KVS_ASSIGN(const auto exact, functions::least_squares(features, standard));
  Matrix<float> weights(exact.rows(), exact.cols()), out(rows.rows, rows.cols);
  std::copy(exact.flat().begin(), exact.flat().end(), weights.data());
  gemm(Trans::no, Trans::no, 1.f, features, weights, 0.f, out);
  return Rebuilt{restore(std::move(out), scale), weights.size() + 1 + 2 * rows.cols};
}

Rebuilt by_mean(Rows rows) {
  const auto mean = column_means(rows);
  Matrix<float> out(rows.rows, rows.cols);
  for (size_t r = 0; r < rows.rows; ++r) std::copy(mean.begin(), mean.end(), out.row(r).begin());
  return {std::move(out), rows.cols};
}

Rebuilt by_rotated_mean(Rows before_rope, const Rope& rope) {
  Rebuilt rebuilt = by_mean(before_rope);
  if (!rope.rotates()) return rebuilt;
  std::vector<int32_t> positions(before_rope.rows);
  std::iota(positions.begin(), positions.end(), 0);
  rope.apply(rebuilt.rows, int(before_rope.cols), positions);
  return rebuilt;
}

double standard_loss(Rows rows, Rows rebuilt) {
  const auto scale = functions::column_scale(rows);
  double sum = 0;
  for (size_t r = 0; r < rows.rows; ++r) {
    for (size_t c = 0; c < rows.cols; ++c) {
      const double difference = double(rows(r, c) - rebuilt(r, c)) / scale.deviation[c];
      sum += difference * difference;
    }
  }
  return sum / (double(rows.rows) * double(rows.cols));
}

struct Place {
  Signal signal;
  int layer, head;
};

std::vector<Place> every_place(const std::vector<int>& layers, const std::vector<int>& heads) {
  std::vector<Place> all;
  for (int layer : layers) {
    for (int head : heads) {
      for (Signal signal : {Signal::key, Signal::value}) all.push_back({signal, layer, head});
    }
  }
  return all;
}

// Judges what `rebuild` makes of the rows and keeps the time it took.
template <class F>
Result<> add(std::vector<Baseline>& all, const std::string& method, const Place& place, Rows rows,
             double target, F&& rebuild) {
  Baseline b;
  b.method = method;
  b.signal = place.signal;
  b.layer = place.layer;
  b.head = place.head;
  b.target = target;
  const auto begun = std::chrono::steady_clock::now();
  KVS_ASSIGN(const Rebuilt rebuilt, Result<Rebuilt>(rebuild()));
  const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - begun;
  b.milliseconds = spent.count();
  b.numbers = rebuilt.numbers;
  b.quality.tokens = rows.rows;
  b.quality.dim = rows.cols;
  b.quality.loss = standard_loss(rows, rebuilt.rows);
  KVS_TRY(compare(rows, rebuilt.rows, b.quality));
  all.push_back(std::move(b));
  return {};
}

}  // namespace

Result<std::vector<Baseline>> svd_baselines(const Sources& sources, const Progress& progress) {
  const auto all_places = every_place(sources.places.few_layers, sources.places.heads);
  const size_t n = sources.main->tokens();
  std::vector<Baseline> all;
  for (size_t i = 0; i < all_places.size(); ++i) {
    const Place& place = all_places[i];
    KVS_TRY(progress.step("singular values", i, all_places.size()));
    KVS_ASSIGN(const auto rows, sources.main->head(place.signal, place.layer, place.head, n));
    KVS_ASSIGN(const Svd svd, thin_svd(rows));
    const size_t d = rows.cols();
    for (double target : {2., 4., 8., 16.}) {
      const double fitting = 2.0 * double(n) * double(d) / (target * 4 * double(n + 1 + d));
      const size_t rank = std::clamp<size_t>(size_t(fitting), 1, std::min(n, d));
      KVS_TRY(add(all, "svd", place, rows, target, [&] { return by_svd(svd, rank); }));
    }
  }
  return all;
}

Result<std::vector<Baseline>> closed_forms(const Sources& sources, const Progress& progress) {
  const auto all_places = every_place(sources.places.sweep_layers, sources.places.heads);
  const Data& data = *sources.main;
  const size_t n = data.tokens();
  std::vector<Baseline> all;
  for (size_t i = 0; i < all_places.size(); ++i) {
    const Place& place = all_places[i];
    KVS_TRY(progress.step("position bases", i, all_places.size()));
    KVS_ASSIGN(const auto rows, data.head(place.signal, place.layer, place.head, n));
    for (size_t count : {n / 16, n / 8, n / 4}) {
      KVS_TRY(add(all, "dct", place, rows, 0, [&] { return by_dct(rows, count); }));
      KVS_TRY(add(all, "fourier", place, rows, 0, [&] { return by_fourier(rows, count); }));
    }
    KVS_TRY(add(all, "mean", place, rows, 0, [&] { return by_mean(rows); }));
    if (place.signal != Signal::key) continue;
    KVS_ASSIGN(const auto before, data.head(Signal::key_before_rope, place.layer, place.head, n));
    const Rope& rope = data.info().shape.layers[size_t(place.layer)].rope;
    KVS_TRY(add(all, "rotmean", place, rows, 0, [&] { return by_rotated_mean(before, rope); }));
  }
  return all;
}

}  // namespace kvsplice::experiment::nerf
