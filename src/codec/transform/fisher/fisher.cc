// Multiplies each head by a power of its Fisher information, so that a quantiser behind it makes
// small errors where they change what the model predicts, and larger ones elsewhere.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "codec/checks.h"
#include "codec/make_stage.h"
#include "linalg/linalg.h"

namespace kvsplice::codec {

namespace {

struct Params {
  double power = 0.25;
  double units = 0.25;
  double floor = 0.03;

  bool off() const { return power == 0 && units == 0; }

  template <class V>
  void visit(V&& v) {
    v("power", power, "exponent of the information within heads; 0 leaves their shape alone",
      Range{0, 0.5});
    v("units", units, "exponent of the information of a whole unit: how far steps follow it",
      Range{0, 0.5});
    v("floor", floor, "added to a head's eigenvalues, relative to their mean over the unit",
      Range{1e-6, 1});
  }
};

// What noise as loud as a unit's rows costs, twice in nats: the geometric mean over the units of
// SmolLM2-135M, so that a step keeps its usual size there.
constexpr double kTypical = 0.065;
constexpr double kMostOfUnit = 2.5;  // the largest factor of a unit, and one over the smallest

constexpr float kLargestCode = 127;
constexpr double kMostUneven = 1000;  // the largest eigenvalue over the smallest
constexpr double kMostExtreme = 1e9;  // an eigenvalue, and one over it
constexpr int kMostDraws = 64;        // 0.8^64 of any spread is none
constexpr double kDrawnTogether = 0.8;

size_t codes_of(size_t dim) { return dim * (dim + 1) / 2; }

// V^T diag(values) V.
Matrix<double> compose(const Eigen& eigen, const std::vector<double>& values) {
  Matrix<double> scaled = eigen.vectors, made(scaled.rows(), scaled.cols());
  for (size_t i = 0; i < scaled.rows(); ++i) {
    for (double& v : scaled.row(i)) v *= values[i];
  }
  gemm(Trans::yes, Trans::no, 1.0, eigen.vectors, scaled, 0.0, made);
  return made;
}

Matrix<float> to_float(const Matrix<double>& a) {
  Matrix<float> made(a.rows(), a.cols());
  std::copy(a.flat().begin(), a.flat().end(), made.data());
  return made;
}

// A symmetric positive definite matrix, kept as small integers.
struct Head {
  float scale = 0;
  std::vector<float> codes;  // lower triangle, row by row
  Matrix<float> matrix, inverse;
};

Result<> check_definite(const std::vector<double>& eigenvalues) {
  const double most = eigenvalues.front(), least = eigenvalues.back();
  if (least * kMostUneven > most && most < kMostExtreme && least * kMostExtreme > 1) return {};
  return Error{ErrorKind::format,
               fmt::format("the matrix of a head has eigenvalues {} ... {}; legal: positive, the "
                           "largest at most {} times the smallest",
                           least, most, kMostUneven)};
}

// Error format unless the codes are legal and the matrix is safe to invert.
Result<Head> make_head(size_t dim, float scale, std::span<const float> codes) {
  Matrix<double> a(dim, dim);
  const float* at = codes.data();
  for (size_t i = 0; i < dim; ++i) {
    for (size_t j = 0; j <= i; ++j, ++at) {
      if (*at != std::round(*at) || std::abs(*at) > kLargestCode) {
        return Error{ErrorKind::format,
                     fmt::format("code {} of a matrix; legal: integers -127 ... 127", *at)};
      }
      a(i, j) = a(j, i) = double(scale) * *at;
    }
  }
  KVS_ASSIGN(const Eigen eigen, symmetric_eigen(a));
  KVS_TRY(check_definite(eigen.values));
  std::vector<double> inverted = eigen.values;
  for (double& v : inverted) v = 1 / v;
  return Head{scale, {codes.begin(), codes.end()}, to_float(a), to_float(compose(eigen, inverted))};
}

Result<Head> round_head(const Matrix<double>& a) {
  double peak = 0;
  for (double v : a.flat()) peak = std::max(peak, std::abs(v));
  const auto scale = static_cast<float>(peak / kLargestCode);
  std::vector<float> codes;
  for (size_t i = 0; i < a.rows(); ++i) {
    for (size_t j = 0; j <= i; ++j) {
      // Adding zero leaves no negative zeros.
      codes.push_back(static_cast<float>(std::round(a(i, j) * (kLargestCode / peak))) + 0.f);
    }
  }
  return make_head(a.rows(), scale, codes);
}

// From the logarithms of the eigenvalues. Small ones can get lost in rounding; they are then drawn
// towards the others until they do not.
Result<Head> head_of_logs(Eigen logs) {
  const auto rounded = [&] {
    std::vector<double> values = logs.values;
    for (double& v : values) v = std::exp(v);
    return round_head(compose(logs, values));
  };
  const double mean = std::accumulate(logs.values.begin(), logs.values.end(), 0.0) /
                      static_cast<double>(logs.values.size());
  Result<Head> head = rounded();
  for (int i = 0; i < kMostDraws && !head.ok(); ++i) {
    for (double& v : logs.values) v = mean + kDrawnTogether * (v - mean);
    head = rounded();
  }
  return head;
}

class Fisher : public Stage {
 public:
  explicit Fisher(const Params& params) : params_(params) {}

  Result<> fit(const Rows& rows, const Context& context) override {
    KVS_TRY(check_heads(context.unit, rows.values.cols()));
    KVS_TRY(check_finite(rows.values));
    width_ = context.unit.width();
    heads_.clear();
    if (params_.off()) return {};
    if (context.information == nullptr) {
      return Error{ErrorKind::usage,
                   "fisher needs to know what errors do to the model, as 'kvsplice calibrate' "
                   "finds it out"};
    }
    KVS_ASSIGN(std::vector<Eigen> heads, decompose(*context.information, context.unit));
    const double mean = mean_information(heads);
    if (!(mean > 0)) return {};
    take_powers(heads, mean);
    const double unit = log_of_unit(mean * static_cast<double>(width_), context.rms);
    for (Eigen& head : heads) {
      for (double& v : head.values) v += unit;
      KVS_ASSIGN(Head made, head_of_logs(std::move(head)));
      heads_.push_back(std::move(made));
    }
    return {};
  }

  Result<> encode(Rows& rows, const Context&, ByteWriter&) const override {
    KVS_TRY(check_fitted(rows, width_));
    multiply(rows.values, &Head::matrix);
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const Context&, ByteReader&) const override {
    KVS_TRY(check_values(rows, count, width_));
    multiply(rows.values, &Head::inverse);
    return {};
  }

  State save() const override {
    if (heads_.empty()) return {};
    std::vector<float> sizes, scales, codes;
    for (const Head& head : heads_) {
      sizes.push_back(static_cast<float>(head.matrix.rows()));
      scales.push_back(head.scale);
      codes.insert(codes.end(), head.codes.begin(), head.codes.end());
    }
    State state;
    state["sizes"] = {{sizes.size()}, sizes};
    state["scales"] = {{scales.size()}, scales};
    state["codes"] = {{codes.size()}, codes, Storage::i8};
    return state;
  }

  Result<> load(const State& state, size_t width) override {
    std::vector<Head> heads;
    if (!state.empty()) {
      KVS_ASSIGN(heads, load_heads(state, width));
    }
    heads_ = std::move(heads);
    width_ = width;
    return {};
  }

 private:
  static Result<std::vector<Eigen>> decompose(const Information& information, const Unit& unit) {
    if (information.heads.size() != unit.head_dims.size()) {
      return Error{ErrorKind::mismatch,
                   fmt::format("information on {} heads for {}", information.heads.size(),
                               unit.head_dims.size())};
    }
    std::vector<Eigen> heads;
    for (size_t h = 0; h < unit.head_dims.size(); ++h) {
      const Matrix<double>& f = information.heads[h];
      const auto dim = static_cast<size_t>(unit.head_dims[h]);
      if (f.rows() != dim || f.cols() != dim) {
        return Error{ErrorKind::mismatch, fmt::format("information of {} x {} on a head of {}",
                                                      f.rows(), f.cols(), dim)};
      }
      KVS_ASSIGN(Eigen eigen, symmetric_eigen(f));  // refuses what is not finite
      heads.push_back(std::move(eigen));
    }
    return heads;
  }

  // Per column. An estimate may have negative eigenvalues, which say nothing.
  double mean_information(const std::vector<Eigen>& heads) const {
    double sum = 0;
    for (const Eigen& head : heads) {
      for (double v : head.values) sum += std::max(v, 0.0);
    }
    return sum / static_cast<double>(width_);
  }

  // Leaves logarithms of sum 0: volumes stay as they are, and with them the rate of small steps.
  void take_powers(std::vector<Eigen>& heads, double mean) const {
    double sum = 0;
    for (Eigen& head : heads) {
      for (double& v : head.values) {
        v = params_.power * std::log(std::max(v, 0.0) / mean + params_.floor);
        sum += v;
      }
    }
    for (Eigen& head : heads) {
      for (double& v : head.values) v -= sum / static_cast<double>(width_);
    }
  }

  double log_of_unit(double trace, double rms) const {
    const double cost = trace * rms * rms;
    if (!(cost > 0)) return 0;
    const double most = std::log(kMostOfUnit);
    return std::clamp(params_.units * std::log(cost / kTypical), -most, most);
  }

  static Result<std::vector<Head>> load_heads(const State& state, size_t width) {
    KVS_ASSIGN(const StateArray* sizes, find_array(state, "sizes", {kAny}));
    KVS_ASSIGN(const std::vector<size_t> dims, dims_of(sizes->values, width));
    const size_t count = std::accumulate(dims.begin(), dims.end(), size_t{0},
                                         [](size_t sum, size_t d) { return sum + codes_of(d); });
    KVS_ASSIGN(const StateArray* scales, find_array(state, "scales", {dims.size()}));
    KVS_ASSIGN(const StateArray* codes, find_array(state, "codes", {count}));
    std::vector<Head> heads;
    std::span<const float> left = codes->values;
    for (size_t h = 0; h < dims.size(); ++h) {
      const size_t own = codes_of(dims[h]);
      KVS_ASSIGN(Head head, make_head(dims[h], scales->values[h], left.first(own)));
      heads.push_back(std::move(head));
      left = left.subspan(own);
    }
    return heads;
  }

  static Result<std::vector<size_t>> dims_of(const std::vector<float>& sizes, size_t width) {
    std::vector<size_t> dims;
    size_t covered = 0;
    for (float size : sizes) {
      if (!(size >= 1 && size <= static_cast<float>(width - covered)) || size != std::round(size)) {
        return Error{ErrorKind::format,
                     fmt::format("a head of {} columns with {} to go", size, width - covered)};
      }
      dims.push_back(static_cast<size_t>(size));
      covered += dims.back();
    }
    if (covered == width) return dims;
    return Error{ErrorKind::format, fmt::format("heads of {} of {} columns", covered, width)};
  }

  void multiply(Matrix<float>& rows, Matrix<float> Head::*matrix) const {
    if (heads_.empty()) return;
    Matrix<float> out(rows.rows(), rows.cols());
    size_t first = 0;
    for (const Head& head : heads_) {
      const size_t dim = head.matrix.rows();
      gemm(Trans::no, Trans::no, 1.f, rows.view().col_range(first, dim), head.*matrix, 0.f,
           out.view().col_range(first, dim));
      first += dim;
    }
    rows = std::move(out);
  }

  Params params_;
  size_t width_ = 0;
  std::vector<Head> heads_;  // empty: rows pass as they are
};

StageInfo::Traits traits(const KeyValues& pairs) {
  StageInfo::Traits t;
  const auto params = parse_params<Params>("fisher", pairs);
  t.information = params.ok() && !params->off();
  return t;
}

}  // namespace

StageInfo fisher_stage() {
  StageInfo info;
  info.name = "fisher";
  info.group = "transform";
  info.summary =
      "Stretches rows where errors change what the model predicts, and shrinks the rest.";
  info.params = describe<Params>();
  info.make = stage_maker<Fisher, Params>("fisher");
  info.traits = traits;
  return info;
}

}  // namespace kvsplice::codec
