// The quantiser of `step` for rows that are first predicted from earlier rows of their block: those
// of tokens that read alike in the layers below. What layers a calibration text did not teach to
// predict, a block's own tokens teach.
//
// Rows are made of innovations by a unit lower triangular matrix that depends on nothing but
// reconstructions of other units. So the decoder multiplies once, and only the encoder goes row by
// row: it subtracts what the innovations before, as quantised, make of the row.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include "codec/checks.h"
#include "codec/dead_zone.h"
#include "codec/make_stage.h"
#include "codec/quantise/recall/likeness.h"
#include "core/threads.h"
#include "linalg/linalg.h"

namespace kvsplice::codec {

namespace {

using recall::Group;

struct Params {
  double delta = 0.6;
  double offset = 0.4;
  double thrift = 0.1;
  int history = 3;
  int group = 256;
  double width = 0.7;
  double noise = 0.3;

  template <class V>
  void visit(V&& v) {
    v("delta", delta, "step over the unit's rms before any stage", Range{1e-6, 1e3});
    v("offset", offset, "rounding offset: .5 rounds to nearest, less widens the dead zone",
      Range{0.1, 0.5});
    v("thrift", thrift, "squared steps of error that a bit must save for 0 to become 1",
      Range{0, 1});
    v("history", history, "layers below by which tokens are compared", Range{1, 64});
    v("group", group, "tokens of a block that may tell of each other", Range{2, 4096});
    v("width", width, "distance, in deviations of what is compared, over which likeness falls",
      Range{0.05, 20});
    v("noise", noise, "variance that like tokens do not share, over that which they may",
      Range{0.01, 100});
  }
};

// Of how many groups the fit looks at what is left to be coded.
constexpr size_t kGroupsTried = 24;

class Recall : public Stage {
 public:
  explicit Recall(const Params& params) : params_(params) {}

  Result<> fit(const Rows& rows, const Context& context) override {
    KVS_TRY(check_some_columns(rows.values.cols()));
    if (rows.values.rows() == 0) return Error{ErrorKind::numeric, "no rows to learn a step from"};
    KVS_TRY(check_finite(rows.values));
    const double rms = context.rms > 0 ? context.rms : rms_about_mean(rows.values);
    KVS_ASSIGN(const float step, step_of(params_.delta * context.step_scale, rms));
    zone_ = DeadZone(rows.values.cols(), step, params_.offset, params_.thrift);
    weigh_sources(context);
    const std::vector<Group> all = groups(context, rows.values.rows()), tried = some_of(all);
    KVS_ASSIGN(const Distances known, distances(context, all));
    const Matrix<float> plain = gathered(rows.values, tried);
    KVS_ASSIGN(Matrix<float> left, innovations(rows.values, tried, known));
    if (bits(left) >= bits(plain)) {
      weights_.clear();
      left = plain;
    }
    zone_.adapt(left);
    return {};
  }

  Result<> encode(Rows& rows, const Context& context, ByteWriter&) const override {
    KVS_TRY(check_fitted(rows, zone_.columns()));
    Matrix<float> made(rows.values.rows(), zone_.columns());
    rows.codes = Matrix<int32_t>(made.rows(), made.cols());
    const std::vector<Group> all = groups(context, made.rows());
    KVS_ASSIGN(const Distances known, distances(context, all));
    KVS_TRY(for_groups(all, [&](const Group& g) {
      const auto range = [&](auto& m) { return m.view().row_range(g.first, g.count); };
      return code(g, known, range(rows.values), range(rows.codes), range(made));
    }));
    if (context.predictions) (*context.predictions)[this] = std::move(made);
    rows.values = {};
    rows.quantised = true;
    rows.code_bits = 0;
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const Context& context, ByteReader&) const override {
    KVS_TRY(check_codes(rows, count, zone_.columns()));
    Matrix<float> made;
    if (context.predictions) made = std::move((*context.predictions)[this]);
    if (made.rows() != count) {
      made = Matrix<float>(count, zone_.columns());
      const std::vector<Group> all = groups(context, count);
      KVS_ASSIGN(const Distances known, distances(context, all));
      KVS_TRY(for_groups(all, [&](const Group& g) { return rebuild(g, known, rows.codes, made); }));
    }
    rows.values = std::move(made);
    rows.codes = {};
    rows.quantised = false;
    return {};
  }

  State save() const override {
    State state;
    zone_.save(state);
    if (compares()) state["weights"] = {{weights_.size()}, weights_};
    return state;
  }

  Result<> load(const State& state, size_t width) override {
    KVS_TRY(check_some_columns(width));
    DeadZone zone(0, 1, params_.offset, params_.thrift);
    KVS_TRY(zone.load(state, width));
    std::vector<float> weights;
    if (state.contains("weights")) {
      KVS_ASSIGN(const StateArray* array, find_array(state, "weights", {kAny}));
      weights = array->values;
      if (std::any_of(weights.begin(), weights.end(), [](float w) { return w < 0; })) {
        return Error{ErrorKind::format, "a weight of distances is negative"};
      }
    }
    zone_ = std::move(zone);
    weights_ = std::move(weights);
    return {};
  }

 private:
  bool compares() const { return !weights_.empty(); }

  std::span<const Reconstruction> sources(const Context& context) const {
    // Another stage of the pipeline may have asked for more history.
    const size_t most = 2 * size_t(params_.history) + (context.unit.kind == Kind::value);
    return std::span(context.history).first(std::min(most, context.history.size()));
  }

  // So that distances are measured in the deviations of what is compared.
  void weigh_sources(const Context& context) {
    weights_.clear();
    double width = 0;
    for (const Reconstruction& source : sources(context)) {
      const double deviation = rms_about_mean(source.rows);
      const double squares = deviation * deviation;
      weights_.push_back(squares > 1e-30 ? static_cast<float>(1 / squares) : 0);
      width += double(source.rows.cols);
    }
    for (float& w : weights_) w /= static_cast<float>(width);
  }

  std::vector<Group> groups(const Context& context, size_t count) const {
    if (compares()) return recall::groups_of(context.positions, size_t(params_.group));
    return {{0, count}};
  }

  static std::vector<Group> some_of(const std::vector<Group>& all) {
    std::vector<Group> some;
    const size_t n = std::min(all.size(), kGroupsTried);
    for (size_t i = 0; i < n; ++i) some.push_back(all[i * all.size() / n]);
    return some;
  }

  template <class Body>
  static Result<> for_groups(const std::vector<Group>& groups, const Body& body) {
    std::vector<Result<>> results(groups.size());
    parallel_for(groups.size(), [&](size_t i) { results[i] = body(groups[i]); });
    for (auto& r : results) KVS_TRY(r);
    return {};
  }

  // Distances by each source, kept for the units behind that read it, too.
  using Distances = std::vector<std::shared_ptr<const Matrix<float>>>;
  Result<Distances> distances(const Context& context, std::span<const Group> groups) const {
    Distances all;
    if (!compares()) return all;
    if (sources(context).size() != weights_.size()) {
      return Error{ErrorKind::format, fmt::format("tokens are compared in {} units, {} are there",
                                                  weights_.size(), sources(context).size())};
    }
    std::map<std::string, std::shared_ptr<void>> kept;
    for (const Reconstruction& source : sources(context)) {
      const std::string name =
          fmt::format("recall {} {} {}", params_.group, kvsplice::name(source.kind), source.layer);
      std::shared_ptr<void> known = context.memory ? (*context.memory)[name] : nullptr;
      if (!known) {
        known = std::make_shared<Matrix<float>>(recall::squared_distances(source.rows, groups));
      }
      all.push_back(std::static_pointer_cast<Matrix<float>>(known));
      kept[name] = known;
    }
    if (context.memory) keep_only(kept, *context.memory);
    return all;
  }

  // What is not read now is not read by later units either.
  static void keep_only(const std::map<std::string, std::shared_ptr<void>>& kept,
                        std::map<std::string, std::shared_ptr<void>>& memory) {
    std::erase_if(memory, [&](const auto& item) {
      return item.first.starts_with("recall ") && !kept.contains(item.first);
    });
    for (const auto& [name, distances] : kept) memory[name] = distances;
  }

  Result<Matrix<float>> mixing_of(const Group& g, const Distances& distances) const {
    if (distances.empty()) return Matrix<float>();
    Matrix<float> squares(g.count, g.count);
    for (size_t i = 0; i < distances.size(); ++i) {
      for (size_t t = 0; t < g.count; ++t) {
        const float* from = distances[i]->row(g.first + t).data();
        float* to = squares.row(t).data();
        for (size_t j = 0; j < t; ++j) to[j] += weights_[i] * from[j];
      }
    }
    return recall::mixing(squares, {params_.width, params_.noise});
  }

  // Quantises one group's innovations; `made` becomes what the decoder will make of the rows.
  Result<> code(const Group& g, const Distances& distances, MatrixView<const float> rows,
                MatrixView<int32_t> codes, MatrixView<float> made) const {
    KVS_ASSIGN(const Matrix<float> mixing, mixing_of(g, distances));
    Matrix<float> quantised(g.count, rows.cols), left(1, rows.cols);
    for (size_t t = 0; t < g.count; ++t) {
      expect(mixing, t, quantised, made.row(t));
      for (size_t c = 0; c < rows.cols; ++c) left(0, c) = rows(t, c) - made(t, c);
      if (!zone_.quantise(left.row(0), codes.row(t))) return beyond_codes(left, zone_.step());
      for (size_t c = 0; c < rows.cols; ++c) {
        quantised(t, c) = static_cast<float>(codes(t, c)) * zone_.step();
        made(t, c) += quantised(t, c);
      }
    }
    return {};
  }

  // What the innovations before row t make of it; nothing without a mixing.
  static void expect(const Matrix<float>& mixing, size_t t, const Matrix<float>& innovations,
                     std::span<float> out) {
    std::fill(out.begin(), out.end(), 0.f);
    if (mixing.empty() || t == 0) return;
    gemm(Trans::no, Trans::no, 1.f, mixing.view().row_range(t, 1).col_range(0, t),
         innovations.view().row_range(0, t), 0.f, MatrixView<float>(out.data(), 1, out.size()));
  }

  Result<> rebuild(const Group& g, const Distances& distances, const Matrix<int32_t>& codes,
                   Matrix<float>& made) const {
    Matrix<float> quantised(g.count, zone_.columns());
    for (size_t i = 0; i < quantised.size(); ++i) {
      quantised.flat()[i] =
          static_cast<float>(codes.flat()[g.first * zone_.columns() + i]) * zone_.step();
    }
    const MatrixView<float> out = made.view().row_range(g.first, g.count);
    if (!compares()) {
      std::copy_n(quantised.data(), quantised.size(), out.data);
      return {};
    }
    KVS_ASSIGN(const Matrix<float> mixing, mixing_of(g, distances));
    gemm(Trans::no, Trans::no, 1.f, mixing.view(), quantised.view(), 0.f, out);
    return {};
  }

  static Matrix<float> gathered(const Matrix<float>& values, const std::vector<Group>& groups) {
    size_t n = 0;
    for (const Group& g : groups) n += g.count;
    Matrix<float> out(n, values.cols());
    float* to = out.data();
    for (const Group& g : groups) {
      const float* from = values.data() + g.first * values.cols();
      to = std::copy_n(from, g.count * values.cols(), to);
    }
    return out;
  }

  // What is left of the rows of some groups to be quantised.
  Result<Matrix<float>> innovations(const Matrix<float>& values, const std::vector<Group>& groups,
                                    const Distances& distances) const {
    Matrix<float> left = gathered(values, groups), made(values.rows(), values.cols());
    if (!compares()) return left;
    Matrix<int32_t> codes(values.rows(), values.cols());
    KVS_TRY(for_groups(groups, [&](const Group& g) {
      return code(g, distances, values.view().row_range(g.first, g.count),
                  codes.view().row_range(g.first, g.count),
                  made.view().row_range(g.first, g.count));
    }));
    size_t at = 0;
    for (const Group& g : groups) {
      for (size_t r = g.first; r < g.first + g.count; ++r, ++at) {
        for (size_t c = 0; c < values.cols(); ++c) {
          left(at, c) -= made(r, c) - static_cast<float>(codes(r, c)) * zone_.step();
        }
      }
    }
    return left;
  }

  // Bits per row, up to a constant, at moderate precision.
  double bits(const Matrix<float>& values) const {
    std::vector<double> squares(values.cols());
    for (size_t r = 0; r < values.rows(); ++r) {
      for (size_t c = 0; c < values.cols(); ++c) squares[c] += double(values(r, c)) * values(r, c);
    }
    double sum = 0;
    for (double s : squares) {
      sum += std::log2(1 + s / (double(values.rows()) * zone_.step() * zone_.step())) / 2;
    }
    return sum;
  }

  Params params_;
  DeadZone zone_;
  std::vector<float>
      weights_;  // of squared distances, by source; none: rows are coded as they come
};

StageInfo::Traits traits(const KeyValues& pairs) {
  StageInfo::Traits t;
  if (const auto params = parse_params<Params>("recall", pairs); params.ok()) {
    t.history = params->history;
    t.reach = static_cast<size_t>(params->group);
  }
  return t;
}

}  // namespace

StageInfo recall_stage() {
  StageInfo info;
  info.name = "recall";
  info.group = "quantise";
  info.summary =
      "The quantiser of 'step' behind a prediction from earlier tokens of the block that read "
      "alike.";
  info.params = describe<Params>();
  info.make = stage_maker<Recall, Params>("recall");
  info.traits = traits;
  return info;
}

}  // namespace kvsplice::codec
