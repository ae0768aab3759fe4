#include "analyse/analysis.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/errors.h"

namespace kvsplice::analyse {

namespace {

using host::Signal;

constexpr Signal kSignals[] = {Signal::key, Signal::key_before_rope, Signal::value};

// What is to be analysed: signals and layers that the dump holds, and how many heads of each.
struct Plan {
  std::vector<Signal> signals;
  std::vector<int> layers;  // indices into shape.layers
  size_t heads = 0;
  Texts texts;
  std::vector<size_t> joint_rows;
};

Result<std::vector<size_t>> text_lengths(const extract::DumpInfo& info) {
  std::vector<size_t> lengths;
  for (const auto& text : info.texts) {
    if (text.tokens < kLeastTokens) {
      return Error{ErrorKind::numeric, fmt::format("text {} has {} tokens; at least {} are needed",
                                                   text.name, text.tokens, kLeastTokens)};
    }
    lengths.push_back(text.tokens);
  }
  if (lengths.empty()) return Error{ErrorKind::numeric, "the dump holds no text"};
  return lengths;
}

std::vector<int> seed_layers(const std::vector<int>& dumped) {
  const size_t n = dumped.size();
  std::vector<int> layers;
  for (size_t i : std::set<size_t>{0, n / 4, n / 2, 3 * n / 4, n - 1}) layers.push_back(dumped[i]);
  return layers;
}

Result<std::vector<int>> chosen_layers(const extract::DumpInfo& info,
                                       const AnalyseOptions& options) {
  if (info.layers.empty()) return Error{ErrorKind::numeric, "the dump holds no layer"};
  if (options.seed_subset) return seed_layers(info.layers);
  if (options.layers.empty()) return info.layers;
  for (int layer : options.layers) {
    if (std::find(info.layers.begin(), info.layers.end(), layer) == info.layers.end()) {
      return Error{ErrorKind::usage, fmt::format("layer {} is not in the dump; it holds {}", layer,
                                                 fmt::join(info.layers, ", "))};
    }
  }
  return options.layers;
}

// At most n rows, evenly spaced, without the sinks.
std::vector<size_t> spaced_rows(const Texts& texts, size_t n) {
  std::vector<size_t> rows;
  for (size_t r = 0; r < texts.rows(); ++r) {
    if (texts.roles()[r] != Texts::Role::sink) rows.push_back(r);
  }
  const size_t all = rows.size();
  n = std::min(n, all);
  for (size_t i = 0; i < n; ++i) rows[i] = rows[i * all / n];
  rows.resize(n);
  return rows;
}

Result<Plan> make_plan(const extract::Dump& dump, const AnalyseOptions& options) {
  const auto& info = dump.info();
  KVS_ASSIGN(auto lengths, text_lengths(info));
  Plan plan{{}, {}, info.heads.size(), Texts(std::move(lengths)), {}};
  KVS_ASSIGN(plan.layers, chosen_layers(info, options));
  if (options.seed_subset) plan.heads = std::min<size_t>(plan.heads, 4);
  for (Signal signal : kSignals) {
    if (signal == Signal::value && info.shape.lacks_values()) continue;
    if (dump.has(signal)) plan.signals.push_back(signal);
  }
  if (plan.signals.empty()) {
    return Error{ErrorKind::numeric, "the dump holds neither keys nor values"};
  }
  plan.joint_rows = spaced_rows(plan.texts, options.joint_rows);
  return plan;
}

Matrix<float> picked(MatrixView<const float> x, const std::vector<size_t>& rows) {
  Matrix<float> out(rows.size(), x.cols);
  for (size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(x.row(rows[i]).begin(), x.cols, out.row(i).begin());
  }
  return out;
}

void add(Rates& sum, const Rates& one, double weight) {
  sum.gain += weight * one.gain;
  for (size_t i = 0; i < sum.bits.size(); ++i) sum.bits[i] += weight * one.bits[i];
}

void add(SignalAnalysis& sum, const LayerAnalysis& layer, double weight) {
  sum.lag1 += weight * layer.lag1;
  sum.low10 += weight * layer.low10;
  sum.rank_ratio += weight * layer.rank_ratio;
  sum.kurtosis += weight * layer.kurtosis;
  sum.mean_share += weight * layer.mean_share;
  add(sum.coordinate, layer.coordinate, weight);
  add(sum.head, layer.head, weight);
  add(sum.layer, layer.whole, weight);
}

Result<> finish_joint(const JointRows& rows, const Plan& plan, SignalAnalysis& signal) {
  std::vector<bool> in_fit;
  for (size_t r : plan.joint_rows) in_fit.push_back(plan.texts.roles()[r] == Texts::Role::fit);
  KVS_ASSIGN(const auto variances, rows.klt_variances(in_fit));
  KVS_ASSIGN(signal.spectrum, rows.principal_shares());
  signal.model = rates(variances, rows.energy());
  signal.joint = true;
  signal.joint_rows = rows.rows();
  signal.joint_fit_rows = std::count(in_fit.begin(), in_fit.end(), true);
  signal.joint_width = rows.width();
  return {};
}

Result<> analyse_signal(const extract::Dump& dump, const Plan& plan, Signal signal,
                        const std::function<Result<>(int layer)>& step, Analysis& out) {
  const auto& info = dump.info();
  SignalAnalysis sum;
  sum.signal = signal;
  const auto& roles = plan.texts.roles();
  sum.fit_rows = std::count(roles.begin(), roles.end(), Texts::Role::fit);
  const bool joint = plan.layers.size() > 1;
  JointRows joint_rows(joint ? plan.joint_rows.size() : 0);
  for (int layer : plan.layers) {
    KVS_TRY(step(layer));
    const LayerShape& shape = info.shape.layers[layer];
    const size_t dim = signal == Signal::value ? shape.value_dim : shape.key_dim;
    KVS_ASSIGN(const Matrix<float> all, dump.read(signal, layer));
    const auto rows = all.view().col_range(0, std::min(all.cols(), plan.heads * dim));
    auto unit = analyse_unit(rows, dim, plan.texts);
    if (!unit.ok()) {
      return within(fmt::format("layer {}, {}", shape.layer, name(signal)), unit.error());
    }
    if (joint) joint_rows.add(picked(rows, plan.joint_rows));
    for (HeadAnalysis& head : unit->heads) {
      head.signal = signal;
      head.layer = shape.layer;
      head.head = info.heads[head.head];
      out.heads.push_back(std::move(head));
    }
    unit->layer.signal = signal;
    unit->layer.layer = shape.layer;
    add(sum, unit->layer, 1.0 / double(plan.layers.size()));
    out.layers.push_back(std::move(unit->layer));
    sum.head_width = std::max(sum.head_width, dim);
    sum.layer_width = std::max(sum.layer_width, rows.cols);
  }
  if (joint) KVS_TRY(finish_joint(joint_rows, plan, sum));
  out.signals.push_back(std::move(sum));
  return {};
}

}  // namespace

const SignalAnalysis* Analysis::find(Signal signal) const {
  for (const auto& s : signals) {
    if (s.signal == signal) return &s;
  }
  return nullptr;
}

Result<Analysis> analyse(const extract::Dump& dump, const AnalyseOptions& options,
                         const Progress& progress) {
  KVS_ASSIGN(const Plan plan, make_plan(dump, options));
  Analysis out;
  out.tokens = plan.texts.rows();
  out.texts = plan.texts.lengths().size();
  size_t done = 0;
  const size_t total = plan.signals.size() * plan.layers.size();
  for (Signal signal : plan.signals) {
    const auto step = [&](int layer) {
      return progress.step(fmt::format("analyse layer {}, {}", layer, name(signal)), done++, total);
    };
    KVS_TRY(analyse_signal(dump, plan, signal, step, out));
  }
  return out;
}

}  // namespace kvsplice::analyse
