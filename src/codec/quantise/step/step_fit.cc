// The step, the dead zones, and whether recall leaves less to be coded.
#include <algorithm>
#include <cmath>

#include "codec/checks.h"
#include "codec/quantise/step/dead_zone_fit.h"
#include "codec/quantise/step/recall_fit.h"
#include "codec/quantise/step/step.h"
#include "core/threads.h"
#include "fit/stage_fit.h"
#include "linalg/linalg.h"

namespace kvsplice::codec {

namespace {

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

// Rows of the groups that are tried, one group behind the other.
struct Tried {
  Matrix<float> plain;  // as they came
  Matrix<float> left;   // less what is recalled of them
};

Result<Tried> try_recall(const Matrix<float>& x, const DeadZone& zone, const Mixings& mixings) {
  const std::vector<Group>& groups = mixings.groups;
  const size_t n = std::min(groups.size(), kGroupsTried);
  std::vector<size_t> first(n + 1);
  for (size_t i = 0; i < n; ++i) first[i + 1] = first[i] + groups[i * groups.size() / n].count;
  Tried tried{Matrix<float>(first[n], x.cols()), Matrix<float>(first[n], x.cols())};
  KVS_TRY(parallel_try(n, [&](size_t i) -> Result<> {
    const Group& g = groups[i * groups.size() / n];
    const MatrixView<const float> rows = rows_of(x, g);
    Matrix<int32_t> codes(g.count, x.cols());
    Matrix<float> made(g.count, x.cols());
    KVS_TRY(code_group(zone, mixings.of_group[i * groups.size() / n], rows, codes, made));
    for (size_t r = 0; r < g.count; ++r) {
      for (size_t c = 0; c < x.cols(); ++c) {
        const float innovation = static_cast<float>(codes(r, c)) * zone.step();
        tried.plain(first[i] + r, c) = rows(r, c);
        tried.left(first[i] + r, c) = rows(r, c) - (made(r, c) - innovation);
      }
    }
    return {};
  }));
  return tried;
}

Result<State> fit_step(const StepParams& params, const Rows& rows, const FitContext& context) {
  const Matrix<float>& x = rows.values;
  KVS_TRY(check_some_columns(x.cols()));
  if (x.rows() == 0) return Error{ErrorKind::numeric, "no rows to learn a step from"};
  KVS_TRY(check_finite(x));
  const bool of_unit = params.of == "unit" && context.rms > 0;
  const double rms = of_unit ? context.rms : rms_about_mean(x);
  KVS_ASSIGN(const float step, step_of(params.delta, rms));
  const auto adapted = [&](MatrixView<const float> values) {
    return adapted_zone(values, step, params.offset, params.thrift);
  };
  State state;
  const Recall recall = learn_recall(params.recall_options(), context);
  if (recall.on()) {
    KVS_ASSIGN(const auto mixings, recall.mixings(context, x.rows()));
    KVS_ASSIGN(const Tried tried,
               try_recall(x, even_zone(x.cols(), step, params.offset), *mixings));
    if (bits(tried.left, step) < bits(tried.plain, step)) {
      recall.save(state);
      adapted(tried.left).save(state);
      return state;
    }
  }
  adapted(x).save(state);
  return state;
}

}  // namespace

StageFit step_fit() { return stage_fit<StepParams>("step", fit_step); }

}  // namespace kvsplice::codec
