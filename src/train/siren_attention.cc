#include "train/siren_attention.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <numbers>

#include "core/threads.h"
#include "functions/siren_kernel.h"
#include "train/siren_attention_kernel.h"

namespace kvsplice::train {

namespace {

constexpr double kTurn = 2 * std::numbers::pi;

// Running softmax of one panel of queries over some of the positions.
struct Mixture {
  AlignedVector<float> top, sum, shrink;
  AlignedVector<float> features;  // [hidden x P]

  Mixture(size_t hidden, size_t width)
      : top(width, -std::numeric_limits<float>::infinity()),
        sum(width),
        shrink(width),
        features(hidden * width) {}
};

// One panel of absorbed queries: weights [hidden x P] and bias [P], unused columns zero.
struct QueryPanel {
  AlignedVector<float> weights, bias;
};

std::vector<QueryPanel> query_panels(MatrixView<const float> absorbed, size_t width) {
  const size_t hidden = absorbed.cols - 1;
  std::vector<QueryPanel> panels((absorbed.rows + width - 1) / width);
  for (size_t i = 0; i < panels.size(); ++i) {
    auto& panel = panels[i];
    panel.weights.resize(hidden * width);
    panel.bias.resize(width);
    for (size_t q = 0; q < std::min(width, absorbed.rows - i * width); ++q) {
      const auto row = absorbed.row(i * width + q);
      for (size_t c = 0; c < hidden; ++c) panel.weights[c * width + q] = row[c];
      panel.bias[q] = row[hidden];
    }
  }
  return panels;
}

// Adds `other`, of later positions.
void merge(const Mixture& other, Mixture& into) {
  const size_t width = into.top.size();
  for (size_t q = 0; q < width; ++q) {
    const float top = std::max(into.top[q], other.top[q]);
    const float a = std::exp(into.top[q] - top), b = std::exp(other.top[q] - top);
    into.top[q] = top;
    into.sum[q] = a * into.sum[q] + b * other.sum[q];
    for (size_t i = q; i < into.features.size(); i += width) {
      into.features[i] = a * into.features[i] + b * other.features[i];
    }
  }
}

}  // namespace

SirenTrunk::SirenTrunk(const functions::SirenModel& model, size_t n) : rows_(n), net_(model.shape) {
  net_.set(std::vector<double>(model.parameters.begin(), model.parameters.end()));
  const size_t units = panels() * panel_width();
  start_.resize(units), step_.resize(units), half_.resize(units), bend_.resize(units);
  const double omega = model.shape.omega, spacing = 1 / double(std::max<size_t>(n - 1, 1));
  for (size_t u = 0; u < hidden(); ++u) {
    const double weight = model.parameters[u], bias = model.parameters[hidden() + u];
    start_[u] = omega * bias / kTurn;
    step_[u] = omega * weight * spacing / kTurn;
    const double half = 2 * std::sin(kTurn * step_[u] / 2);
    half_[u] = float(half);
    bend_[u] = float(half * half);
  }
}

SirenTrunk::Workspace SirenTrunk::workspace() const {
  const size_t units = panels() * panel_width();
  Workspace work;
  work.features.resize(units * kRows);
  work.below.resize(units * kRows);
  work.cosine.resize(panel_width() * kRows);
  for (auto* values : {&work.phase, &work.rise, &work.sine}) values->resize(units);
  return work;
}

// Angles at the start of a run are reduced to one turn in double; the rest is float.
void SirenTrunk::first_layer(size_t first, size_t count, Workspace& work) const {
  const size_t width = panel_width(), units = panels() * width;
  const AlignedVector<float> zero(width);
  for (size_t run = 0; run < count; run += kReseed) {
    const size_t rows = std::min(kReseed, count - run);
    const double at = double(first + run);
    for (size_t u = 0; u < units; ++u) {
      const double turns = start_[u] + at * step_[u];
      work.phase[u] = float(kTurn * (turns - std::nearbyint(turns)));
      // sin(z) - sin(z - delta) = 2 sin(delta / 2) cos(z - delta / 2)
      const double middle = turns - step_[u] / 2;
      work.rise[u] = float(kTurn * (middle - std::nearbyint(middle)));
    }
    for (size_t u = 0; u < units; u += width) {
      float* sine = &work.sine[u];
      float* rise = &work.rise[u];
      siren_kernel::sine_rows(&work.phase[u], 1, zero.data(), 1, sine, work.cosine.data());
      siren_kernel::sine_rows(rise, 1, zero.data(), 1, work.cosine.data(), rise);
      siren_kernel::multiply(&half_[u], width, rise);
      siren_kernel::sine_recurrence(sine, rise, &bend_[u], rows,
                                    &work.features[u * count + run * width]);
    }
  }
}

void SirenTrunk::features(size_t first, size_t count, Workspace& work) const {
  assert(count <= kRows && first + count <= rows_);
  const size_t width = panel_width();
  first_layer(first, count, work);
  for (size_t l = 1; l + 1 < net_.layout.layers.size(); ++l) {
    std::swap(work.features, work.below);
    for (size_t j = 0; j < panels(); ++j) {
      float* sine = &work.features[j * count * width];
      siren_kernel::product(work.below.data(), count, hidden(), net_.panel(l, j), sine);
      siren_kernel::sine_rows(sine, count, net_.bias(l, j), float(net_.shape.omega), sine,
                              work.cosine.data());
    }
  }
}

Matrix<float> folded_read_out(const functions::SirenModel& model) {
  const size_t hidden = model.shape.hidden, outputs = model.shape.outputs;
  const float* weights = model.parameters.data() + model.parameters.size() - outputs * (hidden + 1);
  const float* biases = weights + outputs * hidden;
  Matrix<float> folded(hidden + 1, outputs);
  for (size_t o = 0; o < outputs; ++o) {
    const float deviation = model.scale.deviation[o];
    for (size_t c = 0; c < hidden; ++c) folded(c, o) = deviation * weights[o * hidden + c];
    folded(hidden, o) = deviation * biases[o] + model.scale.mean[o];
  }
  return folded;
}

Matrix<float> mix_features(const SirenTrunk& keys, const SirenTrunk& values,
                           MatrixView<const float> absorbed) {
  assert(keys.rows() == values.rows() && absorbed.cols == keys.hidden() + 1);
  constexpr size_t kChunk = 4 * SirenTrunk::kRows;  // positions summed by one thread
  const size_t n = keys.rows(), width = keys.panel_width();
  const auto queries = query_panels(absorbed, width);
  std::vector<std::vector<Mixture>> chunks((n + kChunk - 1) / kChunk);
  parallel_for(chunks.size(), [&](size_t i) {
    chunks[i].assign(queries.size(), Mixture(values.hidden(), width));
    auto key_work = keys.workspace(), value_work = values.workspace();
    AlignedVector<float> weights(SirenTrunk::kRows * width);
    const size_t end = std::min(n, (i + 1) * kChunk);
    for (size_t first = i * kChunk; first < end; first += SirenTrunk::kRows) {
      const size_t count = std::min(SirenTrunk::kRows, end - first);
      keys.features(first, count, key_work);
      if (&values != &keys) values.features(first, count, value_work);
      const auto& mixed = (&values == &keys ? key_work : value_work).features;
      for (size_t q = 0; q < queries.size(); ++q) {
        Mixture& mixture = chunks[i][q];
        siren_kernel::product(key_work.features.data(), count, keys.hidden(),
                              queries[q].weights.data(), weights.data());
        siren_kernel::softmax_rows(weights.data(), count, queries[q].bias.data(),
                                   mixture.top.data(), mixture.sum.data(), mixture.shrink.data());
        siren_kernel::shrink_rows(mixture.shrink.data(), values.hidden(), mixture.features.data());
        siren_kernel::outer(mixed.data(), values.hidden(), count, weights.data(),
                            mixture.features.data());
      }
    }
  });
  Matrix<float> out(absorbed.rows, values.hidden() + 1);
  for (size_t q = 0; q < absorbed.rows; ++q) {
    Mixture& total = chunks[0][q / width];
    if (q % width == 0) {
      for (size_t i = 1; i < chunks.size(); ++i) merge(chunks[i][q / width], total);
    }
    for (size_t c = 0; c < values.hidden(); ++c) {
      out(q, c) = total.features[c * width + q % width] / total.sum[q % width];
    }
    out(q, values.hidden()) = 1;
  }
  return out;
}

}  // namespace kvsplice::train
