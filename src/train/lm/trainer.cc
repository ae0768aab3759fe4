#include "train/lm/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "core/threads.h"
#include "solve/solve.h"
#include "train/adamw.h"

namespace kvsplice::train::lm {

namespace {

double rate_at(const TrainOptions& o, size_t step) {
  const double warm = std::max(1., o.warm_up * double(o.steps)), at = double(step) + 1;
  if (at <= warm) return o.rate * at / warm;
  const double done = (at - warm) / std::max(1., double(o.steps) - warm);
  return o.rate * (0.1 + 0.45 * (1 + std::cos(std::numbers::pi * done)));
}

class Trainer {
 public:
  Trainer(const Model<float>& model, const TrainOptions& options)
      : model_(model), options_(options) {
    const size_t lane = lane_of(model.shape());
    lanes_.resize((options.batch + lane - 1) / lane);
    shares_.resize(lanes_.size());
    for (auto& gradient : lanes_) gradient.resize(model.layout().size());
    for (const Group& group : model.layout().groups()) {
      AdamWOptions adam;
      adam.decay = group.decays ? options.decay : 0;
      adam.beta2 = 0.95;
      optimisers_.emplace_back(group.size(), adam);
    }
  }

  // The loss before the step.
  double step(size_t number, MatrixView<const Token> batch, std::span<float> parameters) {
    const double loss = differentiate(number, batch, parameters);
    if (!std::isfinite(loss)) return loss;
    const float scale = float(std::min(1., options_.clip / norm()));
    const auto& groups = model_.layout().groups();
    parallel_for(groups.size(), [&](size_t i) {
      optimisers_[i].set_rate(rate_at(options_, number));
      optimisers_[i].step(groups[i].in(parameters), groups[i].in(std::span<const float>(lanes_[0])),
                          scale);
    });
    return loss;
  }

 private:
  // Leaves the gradient of the mean loss in the first lane.
  double differentiate(size_t number, MatrixView<const Token> batch,
                       std::span<const float> parameters) {
    const size_t lane = lane_of(model_.shape());
    std::vector<double> losses(lanes_.size());
    parallel_for(lanes_.size(), [&](size_t i) {
      std::fill(lanes_[i].begin(), lanes_[i].end(), 0.f);
      const size_t first = i * lane, n = std::min(lane, batch.rows - first);
      const uint64_t noise = ((options_.seed + 1) * 65536 + number) * 256 + i + 1;
      losses[i] = model_.loss({parameters, noise}, batch.row_range(first, n), lanes_[i]);
      shares_[i] = double(n) / double(batch.rows);
    });
    parallel_chunks(lanes_[0].size(), kChunk, [&](size_t first, size_t n) {
      for (size_t i = 0; i < lanes_.size(); ++i) {
        const float share = float(shares_[i]);
        for (size_t at = first; at < first + n; ++at) {
          lanes_[0][at] = share * lanes_[i][at] + (i > 0 ? lanes_[0][at] : 0);
        }
      }
    });
    double loss = 0;
    for (size_t i = 0; i < lanes_.size(); ++i) loss += shares_[i] * losses[i];
    return loss;
  }

  double norm() const {
    const std::vector<float>& gradient = lanes_[0];
    std::vector<double> squares((gradient.size() + kChunk - 1) / kChunk);
    parallel_chunks(gradient.size(), kChunk, [&](size_t first, size_t n) {
      squares[first / kChunk] = elementwise_kernel::sum_of_squares(&gradient[first], n);
    });
    return std::sqrt(std::accumulate(squares.begin(), squares.end(), 0.));
  }

  static constexpr size_t kChunk = 1 << 16;
  const Model<float>& model_;
  TrainOptions options_;
  std::vector<std::vector<float>> lanes_;  // a gradient each
  std::vector<double> shares_;             // of the batch
  std::vector<AdamW<float>> optimisers_;   // by group
};

}  // namespace

size_t lane_of(const Shape& shape) { return std::max<size_t>(1, 256 / shape.length); }

Sequences::Sequences(std::span<const Token> tokens, size_t length, uint64_t seed)
    : tokens_(tokens), length_(length), order_(tokens.size() / (length + 1)) {
  std::iota(order_.begin(), order_.end(), 0);
  Random(seed).shuffle(order_);
}

Matrix<Token> Sequences::batch(size_t number, size_t size) const {
  Matrix<Token> batch(size, length_ + 1);
  for (size_t i = 0; i < size; ++i) {
    const auto row = all().row(order_[(number * size + i) % count()]);
    std::copy(row.begin(), row.end(), batch.row(i).begin());
  }
  return batch;
}

Result<double> train(const Model<float>& model, const Sequences& data, const TrainOptions& options,
                     std::vector<float>& parameters, const Progress& progress) {
  Trainer trainer(model, options);
  const size_t last = options.steps - std::max<size_t>(1, options.steps / 10);
  double sum = 0;
  for (size_t step = 0; step < options.steps; ++step) {
    KVS_TRY(progress.step("training", step, options.steps));
    const double loss = trainer.step(step, data.batch(step, options.batch), parameters);
    if (!std::isfinite(loss)) {
      return Error{ErrorKind::numeric, fmt::format("the loss is no number at step {}", step)};
    }
    if (step >= last) sum += loss;
  }
  return sum / double(options.steps - last);
}

// The best matrices of that rank: singular vectors, with singular values on both sides alike.
std::vector<float> convert(const Model<float>& full, std::span<const float> parameters,
                           const Model<float>& model) {
  std::vector<float> made(model.layout().size());
  const std::span<float> all = made;
  for (const Group& group : model.layout().groups()) {
    if (group.name.find(".cache.") != std::string::npos) continue;
    const auto from = full.layout().find(group.name)->in(parameters);
    std::copy(from.begin(), from.end(), group.in(all).begin());
  }
  for (size_t i = 0; i < model.shape().layers; ++i) {
    const std::string prefix = fmt::format("blk.{}.cache.", i);
    const auto down = model.layout().find(prefix + "down")->matrix(all);
    const auto up = model.layout().find(prefix + "up")->matrix(all);
    const Svd svd = *thin_svd(full.layout().find(prefix + "down")->matrix(parameters));
    for (size_t r = 0; r < down.rows; ++r) {
      const float root = std::sqrt(svd.values[r]);
      for (size_t c = 0; c < down.cols; ++c) down(r, c) = root * svd.vt(r, c);
      for (size_t k = 0; k < up.rows; ++k) up(k, r) = root * svd.u(k, r);
    }
  }
  return made;
}

}  // namespace kvsplice::train::lm
