// Fits sine networks to cache vectors: position in the text -> key or value of one head. The seed's
// recipe: positions at linspace(0, 1, n), targets standardised per column, full-batch mean squared
// error, Adam with a cosine-decayed rate. Or the same network by variable projection: the read-out
// is linear, so it is solved exactly in every epoch, and Adam trains the sine layers on what is
// left.
#pragma once

#include <optional>

#include "core/matrix.h"
#include "core/progress.h"
#include "functions/siren_net.h"

namespace kvsplice::functions {

// Per column: mean and unbiased standard deviation, the latter at least 1e-3.
struct ColumnScale {
  std::vector<float> mean, deviation;
};
ColumnScale column_scale(MatrixView<const float> x);
Matrix<float> standardise(MatrixView<const float> x, const ColumnScale& scale);

// A fitted network: what has to be stored to compute the vectors again.
struct SirenModel {
  SirenShape shape;
  std::vector<float> parameters;  // portable order, see siren_net.h
  ColumnScale scale;

  // Rows at positions in [0, 1], in the units of the targets: [positions.size() x outputs].
  Matrix<float> evaluate(std::span<const float> positions) const;
};

// The inputs the network was trained on: i / (n - 1).
std::vector<float> unit_positions(size_t n);

struct SirenOptions {
  enum class Trainer { adam, varpro };
  Trainer trainer = Trainer::adam;
  std::optional<size_t> epochs;  // default: 2,000 for Adam, 20 for variable projection
  std::optional<double> rate;    // default: 1e-4 for Adam, 1e-3 for variable projection
  double last_rate = 1e-6;       // reached by cosine decay after all epochs
  uint64_t seed = 0;
  // Stops when the loss fell by less than this share over the last tenth of all epochs; 0: never.
  double stop_below = 0;

  size_t epoch_count() const { return epochs.value_or(trainer == Trainer::adam ? 2000 : 20); }
  double first_rate() const { return rate.value_or(trainer == Trainer::adam ? 1e-4 : 1e-3); }
};

struct SirenFit {
  SirenModel model;
  std::vector<double> losses;  // standardised, before each epoch's step; the last one after all
};

// targets: [n x d], n >= 1; sets shape.outputs. Uses all threads, or the caller's alone when called
// inside parallel_for; the result is the same to the last bit.
Result<SirenFit> fit_siren(MatrixView<const float> targets, SirenShape shape,
                           const SirenOptions& options, const Progress& progress);

// Several, side by side, one to a thread; as from fit_siren.
Result<std::vector<SirenFit>> fit_sirens(std::span<const MatrixView<const float>> targets,
                                         const SirenShape& shape, const SirenOptions& options,
                                         const Progress& progress);

}  // namespace kvsplice::functions
