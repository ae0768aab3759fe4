// Uniform quantiser with a dead zone and one step for all columns of a unit. Behind an orthonormal
// transform, columns below the step fall into the dead zone: reverse water-filling by itself.
#include "codec/quantise/step/step.h"

#include "codec/checks.h"
#include "codec/make_stage.h"
#include "core/threads.h"
#include "linalg/linalg.h"

namespace kvsplice::codec {

namespace {

// Row t of `made` becomes what the innovations before make of it. Those before its strip of rows
// are added up for the whole strip at once.
void expect(const Matrix<float>& mixing, const Matrix<float>& innovations, size_t t,
            MatrixView<float> made) {
  constexpr size_t kStrip = 32;
  const size_t first = t / kStrip * kStrip;
  if (t == first) {
    const size_t n = std::min(kStrip, made.rows - first);
    gemm(Trans::no, Trans::no, 1.f, mixing.view().row_range(first, n).col_range(0, first),
         innovations.view().row_range(0, first), 0.f, made.row_range(first, n));
  }
  const std::span<float> row = made.row(t);
  for (size_t j = first; j < t; ++j) {
    const float weight = mixing(t, j);
    const float* from = innovations.row(j).data();
    for (size_t c = 0; c < row.size(); ++c) row[c] += weight * from[c];
  }
}

class Step : public Stage {
 public:
  explicit Step(const StepParams& params) : params_(params) {}

  Result<> encode(Rows& rows, const CodeContext& context, ByteWriter&) const override {
    KVS_TRY(check_fitted(rows, zone_.columns()));
    const Matrix<float>& x = rows.values;
    rows.codes = Matrix<int32_t>(x.rows(), x.cols());
    if (recall_.on()) {
      Matrix<float> made(x.rows(), x.cols());
      KVS_ASSIGN(const auto mixings, recall_.mixings(context, x.rows()));
      KVS_TRY(parallel_try(mixings->groups.size(), [&](size_t i) {
        const auto part = [&](auto& m) { return rows_of(m, mixings->groups[i]); };
        return code_group(zone_, mixings->of_group[i], part(x), part(rows.codes), part(made));
      }));
      if (context.kept != nullptr) *context.kept = std::move(made);
    } else {
      for (size_t r = 0; r < x.rows(); ++r) {
        if (!zone_.quantise(x.row(r), rows.codes.row(r))) return beyond_codes(x, zone_.step());
      }
    }
    rows.values = {};
    rows.quantised = true;
    rows.code_bits = 0;
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const CodeContext& context,
                  ByteReader&) const override {
    KVS_TRY(check_codes(rows, count, zone_.columns()));
    rows.values = Matrix<float>(count, zone_.columns());
    for (size_t i = 0; i < rows.codes.size(); ++i) {
      rows.values.flat()[i] = static_cast<float>(rows.codes.flat()[i]) * zone_.step();
    }
    rows.codes = {};
    rows.quantised = false;
    return recall_.on() ? mix(rows.values, context) : Result<>();
  }

  State save() const override {
    State state;
    zone_.save(state);
    recall_.save(state);
    return state;
  }

  Result<> load(const State& state, size_t width) override {
    KVS_TRY(check_some_columns(width));
    KVS_ASSIGN(DeadZone zone, DeadZone::load(state, width, params_.offset));
    Recall recall(params_.recall_options());
    KVS_TRY(recall.load(state));
    if (recall.on() && params_.recall < 2) {
      return Error{ErrorKind::format, "weights of a recall that the pipeline does not have"};
    }
    zone_ = std::move(zone);
    recall_ = std::move(recall);
    return {};
  }

 private:
  // Makes rows of innovations.
  Result<> mix(Matrix<float>& values, const CodeContext& context) const {
    if (context.kept != nullptr && !context.kept->empty()) {
      values = std::move(*context.kept);
      return {};
    }
    KVS_ASSIGN(const auto mixings, recall_.mixings(context, values.rows()));
    parallel_for(mixings->groups.size(), [&](size_t i) {
      const MatrixView<float> all = rows_of(values, mixings->groups[i]);
      const MatrixView<float> rows = all.col_range(0, columns_in_use(all));
      const Matrix<float> innovations = copy(rows);
      multiply_lower(mixings->of_group[i], innovations, rows);
    });
    return {};
  }

  StepParams params_;
  DeadZone zone_;
  Recall recall_;
};

StageInfo::Traits traits(const KeyValues& pairs) {
  StageInfo::Traits t;
  const auto params = parse_params<StepParams>("step", pairs);
  if (params.ok() && params->recall > 1) {
    t.history = params->recall_history;
    t.reach = static_cast<size_t>(params->recall);
  }
  return t;
}

}  // namespace

Result<> code_group(const DeadZone& zone, const Matrix<float>& mixing, MatrixView<const float> rows,
                    MatrixView<int32_t> codes, MatrixView<float> made) {
  Matrix<float> innovations(rows.rows, rows.cols), left(1, rows.cols);
  for (size_t t = 0; t < rows.rows; ++t) {
    expect(mixing, innovations, t, made);
    const std::span<float> row = made.row(t);
    for (size_t c = 0; c < row.size(); ++c) left(0, c) = rows(t, c) - row[c];
    if (!zone.quantise(left.row(0), codes.row(t))) return beyond_codes(left, zone.step());
    for (size_t c = 0; c < row.size(); ++c) {
      innovations(t, c) = static_cast<float>(codes(t, c)) * zone.step();
      row[c] += innovations(t, c);
    }
  }
  return {};
}

StageInfo step_stage() {
  StageInfo info;
  info.name = "step";
  info.group = "quantise";
  info.version = info.oldest = 2;
  info.summary = "Uniform quantiser with a dead zone; one step, relative to the rms of the unit.";
  info.params = describe<StepParams>();
  info.make = stage_maker<Step, StepParams>("step");
  info.traits = traits;
  return info;
}

}  // namespace kvsplice::codec
