// The KVSplice seed's warp: a monotone piecewise-linear function per column, trained so that linear
// stages behind it lose less.
#include "codec/warp/spline/spline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "codec/checks.h"
#include "codec/make_stage.h"

namespace kvsplice::codec {

using functions::Spline;

namespace {

class SplineStage : public Stage {
 public:
  explicit SplineStage(const SplineParams& params) : params_(params) {}

  Result<> encode(Rows& rows, const CodeContext&, ByteWriter&) const override {
    KVS_TRY(check_fitted(rows, width()));
    if (spline_) spline_->forward(rows.values, rows.values);
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const CodeContext&, ByteReader&) const override {
    KVS_TRY(check_values(rows, count, width()));
    if (spline_) spline_->inverse(rows.values, rows.values);
    return {};
  }

  State save() const override { return spline_ ? save_spline(*spline_) : State{}; }

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

  SplineParams params_;
  std::optional<Spline<float>> spline_;
};

}  // namespace

State save_spline(const Spline<float>& spline) {
  const auto knots = spline.knots().flat();
  const auto parameters = spline.parameters();
  State state;
  state["knots"] = {{spline.segments() + 1, spline.dim()}, {knots.begin(), knots.end()}};
  state["parameters"] = {{spline.segments() + 2, spline.dim()},
                         {parameters.begin(), parameters.end()}};
  return state;
}

StageInfo spline_stage() {
  StageInfo info;
  info.name = "spline";
  info.group = "warp";
  info.summary =
      "Bends every column by a monotone piecewise-linear function, learnt for the PCA behind it.";
  info.params = describe<SplineParams>();
  info.make = stage_maker<SplineStage, SplineParams>("spline");
  return info;
}

}  // namespace kvsplice::codec
