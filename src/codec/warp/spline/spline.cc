// The KVSplice seed's warp: a monotone piecewise-linear function per column, trained so that linear
// stages behind it lose less.
#include "train/spline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "codec/checks.h"
#include "codec/make_stage.h"
#include "codec/warp/training.h"
#include "codec/warp/unit_scale.h"
#include "train/bottleneck.h"
#include "train/rate_loss.h"

namespace kvsplice::codec {

namespace {

using train::Spline;

struct Params {
  int knots = 7;
  WarpTraining training{.epochs = 20, .lr = 2e-3};
  std::string loss = "rank";
  double error = 0.03;

  template <class V>
  void visit(V&& v) {
    v("knots", knots, "knots per column, at quantiles of the rows", Range{2, 64});
    training.visit(v);
    v("loss", loss,
      "what is trained for: error behind a PCA of that rank, or bits at a given error",
      Choice{"rank", "rate"});
    v("error", error,
      "rms error, relative to the rows' deviation, at which bits count (loss = rate)",
      Range{1e-4, 10});
  }
};

class SplineStage : public Stage {
 public:
  explicit SplineStage(const Params& params) : params_(params) {}

  Result<> fit(const Rows& rows, const Context& context) override {
    if (rows.values.rows() == 0) return Error{ErrorKind::numeric, "no rows to learn a warp from"};
    // Trained on rows of about unit deviation; a power of two leaves the digits as they are.
    const float scale = unit_scale(rows.values);
    const Matrix<float> x = divided(rows.values, scale);
    Spline<float> spline(train::quantile_knots(x, size_t(params_.knots)));
    KVS_TRY(fit_spline(spline, x, context.progress));
    Matrix<float> knots = spline.knots();
    for (float& k : knots.flat()) k *= scale;
    const auto parameters = spline.parameters();
    for (float& shift : parameters.last(x.cols())) shift *= scale;
    return set(std::move(knots), parameters);
  }

  Result<> encode(Rows& rows, const Context&, ByteWriter&) const override {
    KVS_TRY(check_fitted(rows, width()));
    if (spline_) spline_->forward(rows.values, rows.values);
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const Context&, ByteReader&) const override {
    KVS_TRY(check_values(rows, count, width()));
    if (spline_) spline_->inverse(rows.values, rows.values);
    return {};
  }

  State save() const override {
    if (!spline_) return {};
    const auto knots = spline_->knots().flat();
    const auto parameters = spline_->parameters();
    State state;
    state["knots"] = {{spline_->segments() + 1, width()}, {knots.begin(), knots.end()}};
    state["parameters"] = {{spline_->segments() + 2, width()},
                           {parameters.begin(), parameters.end()}};
    return state;
  }

  Result<> load(const State& state, size_t width) override {
    KVS_ASSIGN(const StateArray* knots, find_array(state, "knots", {kAny, width}));
    const size_t k = knots->dims[0];
    KVS_ASSIGN(const StateArray* parameters, find_array(state, "parameters", {k + 1, width}));
    if (k < 2) return Error{ErrorKind::format, fmt::format("a spline of {} knots; at least 2", k)};
    Matrix<float> m(k, width);
    std::copy(knots->values.begin(), knots->values.end(), m.data());
    for (size_t i = width; i < m.size(); ++i) {
      if (m.flat()[i] < m.flat()[i - width]) {
        return Error{ErrorKind::format, fmt::format("knots of column {} descend", i % width)};
      }
    }
    return set(std::move(m), parameters->values);
  }

 private:
  size_t width() const { return spline_ ? spline_->dim() : 0; }

  Result<> fit_spline(Spline<float>& spline, const Matrix<float>& x,
                      const Progress& progress) const {
    const train::WarpFitOptions options = params_.training.options();
    if (params_.loss == "rate") {
      KVS_TRY(train::fit_for_rate(spline, x, params_.error, options, progress));
    } else {
      KVS_TRY(
          train::fit_through_pca(spline, x, size_t(params_.training.rank), options, {}, progress));
    }
    return {};
  }

  Result<> set(Matrix<float> knots, std::span<const float> parameters) {
    Spline<float> spline(std::move(knots));
    std::copy(parameters.begin(), parameters.end(), spline.parameters().begin());
    spline.parameters_changed();
    if (!spline.usable()) {
      return Error{ErrorKind::format, "the spline has a slope or an offset that is not finite"};
    }
    spline_ = std::move(spline);
    return {};
  }

  Params params_;
  std::optional<Spline<float>> spline_;
};

}  // namespace

StageInfo spline_stage() {
  StageInfo info;
  info.name = "spline";
  info.group = "warp";
  info.summary =
      "Bends every column by a monotone piecewise-linear function, learnt for the PCA behind it.";
  info.params = describe<Params>();
  info.make = stage_maker<SplineStage, Params>("spline");
  return info;
}

}  // namespace kvsplice::codec
