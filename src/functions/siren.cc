#include "functions/siren.h"

#include <fmt/format.h>

#include <cmath>
#include <mutex>
#include <numbers>

#include "core/threads.h"
#include "functions/dct.h"
#include "functions/least_squares.h"
#include "functions/siren_trainer.h"

namespace kvsplice::functions {

namespace {

Result<> check(MatrixView<const float> targets, const SirenShape& shape) {
  if (targets.rows == 0 || targets.cols == 0) {
    return Error{ErrorKind::numeric,
                 fmt::format("a sine network needs rows and columns to fit, got {} "
                             "x {}",
                             targets.rows, targets.cols)};
  }
  if (shape.hidden == 0 || !(shape.omega > 0)) {
    return Error{ErrorKind::usage,
                 fmt::format("a sine network needs hidden >= 1 and omega > 0, got {} "
                             "and {}",
                             shape.hidden, shape.omega)};
  }
  for (size_t r = 0; r < targets.rows; ++r) {
    for (float value : targets.row(r)) {
      if (!std::isfinite(value)) {
        return Error{ErrorKind::numeric, fmt::format("row {} to be fitted holds {}", r, value)};
      }
    }
  }
  return {};
}

double cosine_rate(const SirenOptions& options, size_t epoch) {
  const double phase = std::numbers::pi * double(epoch) / double(options.epoch_count());
  const double above = options.first_rate() - options.last_rate;
  return options.last_rate + above * (1 + std::cos(phase)) / 2;
}

// Whether the last tenth of the epochs still brought something.
bool stalled(const std::vector<double>& losses, const SirenOptions& options) {
  const size_t window = std::max<size_t>(options.epoch_count() / 10, 1);
  if (options.stop_below <= 0 || losses.size() <= window) return false;
  const double before = losses[losses.size() - 1 - window];
  return before - losses.back() < options.stop_below * before;
}

Result<std::vector<double>> train(SirenTrainer<float>& trainer, MatrixView<const float> targets,
                                  const SirenOptions& options, const Progress& progress) {
  const auto prepare = [&]() -> Result<> {
    if (options.trainer == SirenOptions::Trainer::adam) return {};
    KVS_ASSIGN(const auto weights, least_squares(trainer.features(), targets));
    trainer.set_read_out(weights);
    return {};
  };
  std::vector<double> losses;
  const size_t epochs = options.epoch_count();
  for (size_t epoch = 0; epoch < epochs && !stalled(losses, options); ++epoch) {
    KVS_TRY(progress.step("training epochs", epoch, epochs));
    KVS_TRY(prepare());
    losses.push_back(trainer.loss_and_gradient());
    if (!std::isfinite(losses.back())) {
      return Error{ErrorKind::numeric,
                   fmt::format("the loss became {} in epoch {}; the rate was {}", losses.back(),
                               epoch, options.first_rate())};
    }
    trainer.step(adam_step<float>(cosine_rate(options, epoch), epoch + 1));
  }
  KVS_TRY(prepare());
  losses.push_back(trainer.loss());
  return losses;
}

// The recipe draws first-layer frequencies up to omega / 2 pi cycles and lets training raise them.
// A few epochs cannot, so they are drawn over half of the band that holds most of the energy.
std::vector<double> start_parameters(const SirenShape& shape, const SirenOptions& options,
                                     MatrixView<const float> targets) {
  auto parameters = initial_parameters(shape, options.seed);
  if (options.trainer == SirenOptions::Trainer::adam) return parameters;
  const double band = std::numbers::pi * double(bandwidth(Dct(targets.rows).forward(targets), 0.8));
  const double spread = std::max(1.0, band / (2 * shape.omega));
  for (size_t i = 0; i < shape.hidden; ++i) parameters[i] *= spread;
  return parameters;
}

}  // namespace

// Row by row, as memory lies; each column's sums are still in the order of the rows.
ColumnScale column_scale(MatrixView<const float> x) {
  ColumnScale scale{std::vector<float>(x.cols), std::vector<float>(x.cols)};
  std::vector<double> mean(x.cols), squares(x.cols);
  for (size_t r = 0; r < x.rows; ++r) {
    const auto row = x.row(r);
    for (size_t c = 0; c < x.cols; ++c) mean[c] += row[c];
  }
  for (double& m : mean) m /= double(x.rows);
  for (size_t r = 0; r < x.rows; ++r) {
    const auto row = x.row(r);
    for (size_t c = 0; c < x.cols; ++c) squares[c] += (row[c] - mean[c]) * (row[c] - mean[c]);
  }
  for (size_t c = 0; c < x.cols; ++c) {
    scale.mean[c] = float(mean[c]);
    scale.deviation[c] =
        float(std::max(1e-3, std::sqrt(squares[c] / double(std::max<size_t>(x.rows - 1, 1)))));
  }
  return scale;
}

Matrix<float> standardise(MatrixView<const float> x, const ColumnScale& scale) {
  Matrix<float> out(x.rows, x.cols);
  for (size_t r = 0; r < x.rows; ++r) {
    for (size_t c = 0; c < x.cols; ++c) out(r, c) = (x(r, c) - scale.mean[c]) / scale.deviation[c];
  }
  return out;
}

std::vector<float> unit_positions(size_t n) {
  std::vector<float> positions(n);
  for (size_t i = 0; i < n; ++i)
    positions[i] = float(double(i) / double(std::max<size_t>(n - 1, 1)));
  return positions;
}

Matrix<float> SirenModel::evaluate(std::span<const float> positions) const {
  constexpr size_t kRows = SirenBlock<float>::kRows;
  PanelNet<float> net(shape);
  net.set(std::vector<double>(parameters.begin(), parameters.end()));
  const size_t width = net.layout.width, panels = net.layout.layers.back().out_panels;
  const AlignedVector<float> zeros(panels * width * kRows);
  Matrix<float> out(positions.size(), shape.outputs);
  parallel_chunks(positions.size(), kRows, [&](size_t first, size_t count) {
    SirenBlock<float> block(net.layout, count);
    block.features(net, positions.subspan(first, count));
    block.read_out(net, zeros.data(), 1);
    for (size_t r = 0; r < count; ++r) {
      for (size_t c = 0; c < shape.outputs; ++c) {
        const float standard = block.delta()[(c / width * count + r) * width + c % width];
        out(first + r, c) = standard * scale.deviation[c] + scale.mean[c];
      }
    }
  });
  return out;
}

Result<SirenFit> fit_siren(MatrixView<const float> targets, SirenShape shape,
                           const SirenOptions& options, const Progress& progress) {
  shape.outputs = targets.cols;
  KVS_TRY(check(targets, shape));
  SirenFit fit{{shape, {}, column_scale(targets)}, {}};
  const Matrix<float> standard = standardise(targets, fit.model.scale);
  SirenTrainer<float> trainer(shape, start_parameters(shape, options, standard), standard);
  KVS_ASSIGN(fit.losses, train(trainer, standard, options, progress));
  const auto parameters = trainer.parameters();
  fit.model.parameters.assign(parameters.begin(), parameters.end());
  return fit;
}

Result<std::vector<SirenFit>> fit_sirens(std::span<const MatrixView<const float>> targets,
                                         const SirenShape& shape, const SirenOptions& options,
                                         const Progress& progress) {
  std::mutex reporting;
  size_t done = 0;
  const size_t total = targets.size() * options.epoch_count();
  Progress together;
  together.on_step = [&](const std::string& what, size_t, size_t) {
    const std::lock_guard lock(reporting);
    return progress.step(what, std::min(done++, total), total).ok();
  };
  std::vector<std::optional<Result<SirenFit>>> fits(targets.size());
  const auto fit = [&](size_t i) { fits[i] = fit_siren(targets[i], shape, options, together); };
  if (targets.size() == 1) {
    fit(0);  // all threads for the one
  } else {
    parallel_for(targets.size(), fit);
  }
  std::vector<SirenFit> all;
  for (auto& one : fits) {
    KVS_ASSIGN(SirenFit done_fit, std::move(*one));
    all.push_back(std::move(done_fit));
  }
  return all;
}

}  // namespace kvsplice::functions
