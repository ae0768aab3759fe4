// Powers of the information of heads, in small integers.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "codec/checks.h"
#include "codec/transform/fisher/fisher.h"
#include "fit/stage_fit.h"
#include "linalg/transposed.h"
#include "solve/solve.h"

namespace kvsplice::codec {

namespace {

// What noise as loud as a unit's rows costs, twice in nats, where a step keeps its usual size: the
// geometric mean over the units of SmolLM2-135M. In nats, so that a step costs about as much on
// every model; a mean over a model's own units would not say that.
constexpr double kTypical = 0.065;
constexpr double kMostOfUnit = 2.5;  // the largest factor of a unit, and one over the smallest

constexpr int kMostDraws = 64;  // 0.8^64 of any spread is none
constexpr double kDrawnTogether = 0.8;

// V^T diag(values) V.
Matrix<double> compose(const Eigen& eigen, const std::vector<double>& values) {
  Matrix<double> scaled = eigen.vectors, made(scaled.rows(), scaled.cols());
  for (size_t i = 0; i < scaled.rows(); ++i) {
    for (double& v : scaled.row(i)) v *= values[i];
  }
  gemm(Trans::yes, Trans::no, 1.0, eigen.vectors, scaled, 0.0, made);
  return made;
}

Result<> check_definite(const std::vector<double>& eigenvalues) {
  const double most = eigenvalues.front(), least = eigenvalues.back();
  if (least * kMostUneven > most && most < kMostExtreme && least * kMostExtreme > 1) return {};
  return Error{ErrorKind::format,
               fmt::format("the matrix of a head has eigenvalues {} ... {}; legal: positive, the "
                           "largest at most {} times the smallest",
                           least, most, kMostUneven)};
}

// Error format if the rounded matrix is not safe to invert.
Result<HeadCodes> round_head(const Matrix<double>& a) {
  double peak = 0;
  for (double v : a.flat()) peak = std::max(peak, std::abs(v));
  HeadCodes head{a.rows(), static_cast<float>(peak / kLargestHeadCode), {}};
  for (size_t i = 0; i < a.rows(); ++i) {
    for (size_t j = 0; j <= i; ++j) {
      // Adding zero leaves no negative zeros.
      head.codes.push_back(static_cast<float>(std::round(a(i, j) * (kLargestHeadCode / peak))) +
                           0.f);
    }
  }
  KVS_ASSIGN(const Eigen eigen, symmetric_eigen(head.matrix()));
  KVS_TRY(check_definite(eigen.values));
  return head;
}

// From the logarithms of the eigenvalues. Small ones can get lost in rounding; they are then drawn
// towards the others until they do not.
Result<HeadCodes> head_of_logs(Eigen logs) {
  const auto rounded = [&] {
    std::vector<double> values = logs.values;
    for (double& v : values) v = std::exp(v);
    return round_head(compose(logs, values));
  };
  const double mean = std::accumulate(logs.values.begin(), logs.values.end(), 0.0) /
                      static_cast<double>(logs.values.size());
  Result<HeadCodes> head = rounded();
  for (int i = 0; i < kMostDraws && !head.ok(); ++i) {
    for (double& v : logs.values) v = mean + kDrawnTogether * (v - mean);
    head = rounded();
  }
  return head;
}

// Information on keys before rotation, as that on keys which the cache holds: R F R^T, the mean
// over some of the positions.
Matrix<double> turned(const Matrix<double>& f, Rope rope, std::span<const int32_t> positions) {
  constexpr size_t kMost = 256;
  const size_t dim = f.rows(), n = std::min(kMost, positions.size());
  rope.magnitude = 1 / rope.magnitude;  // errors of the cache are larger by it
  Matrix<double> sum(dim, dim);
  for (size_t i = 0; i < n; ++i) {
    const std::vector<int32_t> at(dim, positions[i * positions.size() / n]);
    Matrix<float> rows(dim, dim);
    std::copy(f.flat().begin(), f.flat().end(), rows.data());
    rope.apply(rows, int(dim), at);
    rows = transposed(rows);
    rope.apply(rows, int(dim), at);
    for (size_t j = 0; j < sum.size(); ++j) sum.flat()[j] += rows.flat()[j] / double(n);
  }
  return sum;
}

Result<std::vector<Eigen>> decompose(const Information& information, const FitContext& context,
                                     bool cached) {
  const Unit& unit = context.unit;
  if (information.heads.size() != unit.head_dims.size()) {
    return Error{ErrorKind::mismatch, fmt::format("information on {} heads for {}",
                                                  information.heads.size(), unit.head_dims.size())};
  }
  std::vector<Eigen> heads;
  for (size_t h = 0; h < unit.head_dims.size(); ++h) {
    const Matrix<double>& f = information.heads[h];
    const auto dim = static_cast<size_t>(unit.head_dims[h]);
    if (f.rows() != dim || f.cols() != dim) {
      return Error{ErrorKind::mismatch,
                   fmt::format("information of {} x {} on a head of {}", f.rows(), f.cols(), dim)};
    }
    const bool turns = cached && unit.rope.rotates();
    KVS_ASSIGN(Eigen eigen,  // refuses what is not finite
               symmetric_eigen(turns ? turned(f, unit.rope, context.positions) : f));
    heads.push_back(std::move(eigen));
  }
  return heads;
}

// Per column. An estimate may have negative eigenvalues, which say nothing.
double mean_information(const std::vector<Eigen>& heads, size_t width) {
  double sum = 0;
  for (const Eigen& head : heads) {
    for (double v : head.values) sum += std::max(v, 0.0);
  }
  return sum / static_cast<double>(width);
}

// Leaves logarithms of sum 0: volumes stay as they are, and with them the rate of small steps.
void take_powers(const FisherParams& params, size_t width, double mean, std::vector<Eigen>& heads) {
  double sum = 0;
  for (Eigen& head : heads) {
    for (double& v : head.values) {
      v = params.power * std::log(std::max(v, 0.0) / mean + params.floor);
      sum += v;
    }
  }
  for (Eigen& head : heads) {
    for (double& v : head.values) v -= sum / static_cast<double>(width);
  }
}

double log_of_unit(const FisherParams& params, double trace, double rms) {
  const double cost = trace * rms * rms;
  if (!(cost > 0)) return 0;
  const double most = std::log(kMostOfUnit);
  return std::clamp(params.units * std::log(cost / kTypical), -most, most);
}

Result<State> fit_fisher(const FisherParams& params, const Rows& rows, const FitContext& context) {
  KVS_TRY(check_heads(context.unit, rows.values.cols()));
  KVS_TRY(check_finite(rows.values));
  if (params.off()) return State();
  if (context.information == nullptr) {
    return Error{ErrorKind::usage,
                 "fisher needs to know what errors do to the model, as 'kvsplice calibrate' "
                 "finds it out"};
  }
  const size_t width = context.unit.width();
  KVS_ASSIGN(std::vector<Eigen> heads,
             decompose(*context.information, context, params.cached == "on"));
  const double mean = mean_information(heads, width);
  if (!(mean > 0)) return State();
  take_powers(params, width, mean, heads);
  const double unit = log_of_unit(params, mean * static_cast<double>(width), context.rms);
  std::vector<HeadCodes> made;
  for (Eigen& head : heads) {
    for (double& v : head.values) v += unit;
    KVS_ASSIGN(HeadCodes codes, head_of_logs(std::move(head)));
    made.push_back(std::move(codes));
  }
  return state_of(made);
}

}  // namespace

StageFit fisher_fit() { return stage_fit<FisherParams>("fisher", fit_fisher); }

}  // namespace kvsplice::codec
