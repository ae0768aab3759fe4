// Regression of the attention that tokens got on what the layers below hold of them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "codec/checks.h"
#include "codec/transform/focus/focus.h"
#include "core/half.h"
#include "fit/stage_fit.h"
#include "solve/solve.h"

namespace kvsplice::codec {

namespace {

Matrix<float> gather(const SideBySide& sources, std::span<const size_t> rows) {
  Matrix<float> inputs(rows.size(), width_of(sources));
  for (size_t i = 0; i < rows.size(); ++i) {
    auto to = inputs.row(i).begin();
    for (const auto& source : sources) {
      to = std::copy_n(source.row(rows[i]).begin(), source.cols, to);
    }
  }
  return inputs;
}

// Ridge regression of the logarithms on inputs of unit variance. Their mean is left out, so that
// the factors are about 1.
Result<State> regress(const Matrix<float>& inputs, const Matrix<float>& received) {
  const double ridge = 1e-2 * double(inputs.rows());
  const auto mean = column_means(inputs);
  Matrix<double> products = scatter(inputs, mean);
  Matrix<double> cross = cross_scatter(inputs, mean, received, column_means(received));
  const size_t n = products.rows();
  std::vector<double> unit(n);
  for (size_t i = 0; i < n; ++i) {
    const double deviation = std::sqrt(products(i, i) / double(inputs.rows()));
    unit[i] = deviation > 1e-6 ? 1 / deviation : 0;
  }
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) products(i, j) *= unit[i] * unit[j];
    for (double& c : cross.row(i)) c *= unit[i];
    products(i, i) += ridge;
  }
  KVS_ASSIGN(const Matrix<double> solved, solve_spd(std::move(products), std::move(cross)));
  Matrix<float> weights(received.cols(), n);
  std::vector<float> bias(received.cols());
  for (size_t h = 0; h < received.cols(); ++h) {
    double at_mean = 0;
    for (size_t i = 0; i < n; ++i) {
      weights(h, i) = from_half(to_half(static_cast<float>(solved(i, h) * unit[i])));
      at_mean += weights(h, i) * mean[i];
    }
    bias[h] = static_cast<float>(-at_mean);
  }
  return focus_state(weights, bias);
}

Result<State> fit_focus(const FocusParams& params, const Rows& rows, const FitContext& context) {
  KVS_TRY(check_heads(context.unit, rows.values.cols()));
  KVS_TRY(check_finite(rows.values));
  const SideBySide sources = focus_sources(params, context);
  if (sources.empty()) return State();
  if (context.attention == nullptr || context.attention->rows.empty()) {
    return Error{ErrorKind::usage, "focus learns from queries, and none are known"};
  }
  const Attention& seen = *context.attention;
  if (seen.received.cols() != context.unit.head_dims.size()) {
    return Error{ErrorKind::mismatch,
                 fmt::format("attention of {} heads for keys and values of {}",
                             seen.received.cols(), context.unit.head_dims.size())};
  }
  KVS_TRY(check_finite(seen.received));
  return regress(gather(sources, seen.rows), seen.received);
}

}  // namespace

StageFit focus_fit() { return stage_fit<FocusParams>("focus", fit_focus); }

}  // namespace kvsplice::codec
