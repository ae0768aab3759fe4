// Uniform quantiser with a dead zone and one step for all columns of a unit. Behind an orthonormal
// transform, columns below the step fall into the dead zone: reverse water-filling by itself.
#include <algorithm>
#include <cmath>

#include "codec/checks.h"
#include "codec/make_stage.h"
#include "codec/quantise/step/dead_zone.h"
#include "codec/quantise/step/recall.h"
#include "core/threads.h"
#include "linalg/linalg.h"

namespace kvsplice::codec {

namespace {

struct Params {
  double delta = 0.6;
  double offset = 0.4;
  double thrift = 0.1;
  std::string of = "unit";
  int recall = 0;
  int recall_history = 1;
  double recall_width = 0.7;
  double recall_noise = 0.3;

  template <class V>
  void visit(V&& v) {
    v("delta", delta, "step over the rms that `of` names", Range{1e-6, 1e3});
    v("offset", offset, "rounding offset: .5 rounds to nearest, less widens the dead zone",
      Range{0.1, 0.5});
    v("thrift", thrift, "squared steps of error that a bit must save for 0 to become 1",
      Range{0, 1});
    v("of", of,
      "whose rms the step is relative to: the unit's rows before any stage, or the rows that "
      "arrive",
      Choice{"unit", "rows"});
    v("recall", recall,
      "tokens of a block that tell of those behind them, by how alike they are in the layers "
      "below; 0: none",
      Range{0, 4096});
    v("recall_history", recall_history, "layers below in which tokens are compared", Range{1, 64});
    v("recall_width", recall_width,
      "distance, in deviations of what is compared, over which likeness falls", Range{0.05, 20});
    v("recall_noise", recall_noise,
      "variance that like tokens do not share, over that which they may", Range{0.01, 100});
  }
};

// Of how many groups the fit looks at what recall leaves to be coded.
constexpr size_t kGroupsTried = 24;

// Bits per row, up to a constant, of values coded with a step.
double bits(const Matrix<float>& values, double step) {
  std::vector<double> squares(values.cols());
  for (size_t r = 0; r < values.rows(); ++r) {
    for (size_t c = 0; c < values.cols(); ++c) squares[c] += double(values(r, c)) * values(r, c);
  }
  double sum = 0;
  for (double s : squares) sum += std::log2(1 + s / (double(values.rows()) * step * step)) / 2;
  return sum;
}

template <class M>
auto rows_of(M& matrix, const Group& g) {
  return matrix.view().row_range(g.first, g.count);
}

class Step : public Stage {
 public:
  explicit Step(const Params& params) : params_(params), recall_(recall_options()) {}

  Result<> fit(const Rows& rows, const Context& context) override {
    KVS_TRY(check_some_columns(rows.values.cols()));
    if (rows.values.rows() == 0) return Error{ErrorKind::numeric, "no rows to learn a step from"};
    KVS_TRY(check_finite(rows.values));
    const bool of_unit = params_.of == "unit" && context.rms > 0;
    const double rms = of_unit ? context.rms : rms_about_mean(rows.values);
    KVS_ASSIGN(const float step, step_of(params_.delta * context.step_scale, rms));
    zone_ = DeadZone(rows.values.cols(), step, params_.offset, params_.thrift);
    recall_.learn(context);
    if (!recall_.on()) {
      zone_.adapt(rows.values);
      return {};
    }
    return try_recall(rows.values, context);
  }

  Result<> encode(Rows& rows, const Context& context, ByteWriter&) const override {
    KVS_TRY(check_fitted(rows, zone_.columns()));
    const Matrix<float>& x = rows.values;
    rows.codes = Matrix<int32_t>(x.rows(), x.cols());
    if (recall_.on()) {
      Matrix<float> made(x.rows(), x.cols());
      KVS_ASSIGN(const auto mixings, recall_.mixings(context, x.rows()));
      KVS_TRY(parallel_try(mixings->groups.size(), [&](size_t i) {
        const auto part = [&](auto& m) { return rows_of(m, mixings->groups[i]); };
        return code(mixings->of_group[i], part(x), part(rows.codes), part(made));
      }));
      if (context.predictions) (*context.predictions)[this] = std::move(made);
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

  Result<> decode(Rows& rows, size_t count, const Context& context, ByteReader&) const override {
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
    DeadZone zone(0, 1, params_.offset, params_.thrift);
    Recall recall(recall_options());
    KVS_TRY(zone.load(state, width));
    KVS_TRY(recall.load(state));
    if (recall.on() && params_.recall < 2) {
      return Error{ErrorKind::format, "weights of a recall that the pipeline does not have"};
    }
    zone_ = std::move(zone);
    recall_ = std::move(recall);
    return {};
  }

 private:
  Recall::Options recall_options() const {
    return {size_t(params_.recall),
            params_.recall_history,
            {params_.recall_width, params_.recall_noise}};
  }

  // Keeps recall if it leaves less to be coded of some groups, and adapts the zones to what is
  // left.
  Result<> try_recall(const Matrix<float>& x, const Context& context) {
    KVS_ASSIGN(const auto mixings, recall_.mixings(context, x.rows()));
    const std::vector<Group>& groups = mixings->groups;
    const size_t n = std::min(groups.size(), kGroupsTried);
    std::vector<size_t> first(n + 1);  // of the groups tried, one behind the other
    for (size_t i = 0; i < n; ++i) first[i + 1] = first[i] + groups[i * groups.size() / n].count;
    Matrix<float> plain(first[n], x.cols()), left(first[n], x.cols());
    KVS_TRY(parallel_try(n, [&](size_t i) -> Result<> {
      const Group& g = groups[i * groups.size() / n];
      const MatrixView<const float> rows = rows_of(x, g);
      Matrix<int32_t> codes(g.count, x.cols());
      Matrix<float> made(g.count, x.cols());
      KVS_TRY(code(mixings->of_group[i * groups.size() / n], rows, codes, made));
      for (size_t r = 0; r < g.count; ++r) {
        for (size_t c = 0; c < x.cols(); ++c) {
          const float innovation = static_cast<float>(codes(r, c)) * zone_.step();
          plain(first[i] + r, c) = rows(r, c);
          left(first[i] + r, c) = rows(r, c) - (made(r, c) - innovation);
        }
      }
      return {};
    }));
    const bool pays = bits(left, zone_.step()) < bits(plain, zone_.step());
    if (!pays) recall_.turn_off();
    zone_.adapt(pays ? left.view() : x.view());
    return {};
  }

  // Quantises the innovations of a group; `made` becomes what the decoder will make of them.
  Result<> code(const Matrix<float>& mixing, MatrixView<const float> rows,
                MatrixView<int32_t> codes, MatrixView<float> made) const {
    Matrix<float> innovations(rows.rows, rows.cols), left(1, rows.cols);
    for (size_t t = 0; t < rows.rows; ++t) {
      expect(mixing, innovations, t, made);
      const std::span<float> row = made.row(t);
      for (size_t c = 0; c < row.size(); ++c) left(0, c) = rows(t, c) - row[c];
      if (!zone_.quantise(left.row(0), codes.row(t))) return beyond_codes(left, zone_.step());
      for (size_t c = 0; c < row.size(); ++c) {
        innovations(t, c) = static_cast<float>(codes(t, c)) * zone_.step();
        row[c] += innovations(t, c);
      }
    }
    return {};
  }

  // Row t of `made` becomes what the innovations before make of it. Those before its strip of rows
  // are added up for the whole strip at once.
  static void expect(const Matrix<float>& mixing, const Matrix<float>& innovations, size_t t,
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

  // Makes rows of innovations.
  Result<> mix(Matrix<float>& values, const Context& context) const {
    if (context.predictions) {
      Matrix<float>& made = (*context.predictions)[this];
      if (made.rows() == values.rows()) {
        values = std::move(made);
        return {};
      }
    }
    KVS_ASSIGN(const auto mixings, recall_.mixings(context, values.rows()));
    parallel_for(mixings->groups.size(), [&](size_t i) {
      const MatrixView<float> rows = rows_of(values, mixings->groups[i]);
      const Matrix<float> innovations = copy(rows);
      gemm(Trans::no, Trans::no, 1.f, mixings->of_group[i].view(), innovations.view(), 0.f, rows);
    });
    return {};
  }

  Params params_;
  DeadZone zone_;
  Recall recall_;
};

StageInfo::Traits traits(const KeyValues& pairs) {
  StageInfo::Traits t;
  const auto params = parse_params<Params>("step", pairs);
  if (params.ok() && params->recall > 1) {
    t.history = params->recall_history;
    t.reach = static_cast<size_t>(params->recall);
  }
  return t;
}

}  // namespace

StageInfo step_stage() {
  StageInfo info;
  info.name = "step";
  info.group = "quantise";
  info.version = info.oldest = 2;
  info.summary = "Uniform quantiser with a dead zone; one step, relative to the rms of the unit.";
  info.params = describe<Params>();
  info.make = stage_maker<Step, Params>("step");
  info.traits = traits;
  return info;
}

}  // namespace kvsplice::codec
