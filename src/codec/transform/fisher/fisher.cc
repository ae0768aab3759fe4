// Multiplies each head by a power of its Fisher information, so that a quantiser behind it makes
// small errors where they change what the model predicts, and larger ones elsewhere.
#include "codec/transform/fisher/fisher.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "codec/checks.h"
#include "codec/make_stage.h"
#include "linalg/linalg.h"

namespace kvsplice::codec {

namespace {

size_t codes_of(size_t dim) { return dim * (dim + 1) / 2; }

Matrix<float> to_float(const Matrix<double>& a) {
  Matrix<float> made(a.rows(), a.cols());
  std::copy(a.flat().begin(), a.flat().end(), made.data());
  return made;
}

struct Head {
  HeadCodes codes;
  Matrix<float> matrix, inverse;
};

double norm(const Matrix<double>& a) {
  double squares = 0;
  for (double v : a.flat()) squares += v * v;
  return std::sqrt(squares);
}

// The root of the sum of an [n x n] matrix's squares is at least its largest eigenvalue, and at
// most sqrt(n) times that: whatever keeps to the limits of eigenvalues passes.
Result<> check_norms(double norm, double norm_of_inverse, size_t dim) {
  const double most = kMostExtreme * std::sqrt(double(dim));
  const double uneven = kMostUneven * double(dim);
  if (norm < most && norm_of_inverse < most && norm * norm_of_inverse < uneven) return {};
  return Error{ErrorKind::format,
               fmt::format("the matrix of a head has norm {} and its inverse {}; legal: each below "
                           "{}, their product below {}",
                           norm, norm_of_inverse, most, uneven)};
}

// Error format unless the codes are legal and the matrix is safe to invert.
Result<Head> make_head(HeadCodes codes) {
  for (float code : codes.codes) {
    if (code == std::round(code) && std::abs(code) <= kLargestHeadCode) continue;
    return Error{ErrorKind::format,
                 fmt::format("code {} of a matrix; legal: integers -127 ... 127", code)};
  }
  const Matrix<double> a = codes.matrix();
  const auto inverse = inverse_spd(a);
  if (!inverse.ok()) return Error{ErrorKind::format, inverse.error().message};
  KVS_TRY(check_norms(norm(a), norm(*inverse), codes.dim));
  return Head{std::move(codes), to_float(a), to_float(*inverse)};
}

class Fisher : public Stage {
 public:
  explicit Fisher(const FisherParams&) {}

  Result<> encode(Rows& rows, const CodeContext&, ByteWriter&) const override {
    KVS_TRY(check_fitted(rows, width_));
    multiply(rows.values, &Head::matrix);
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const CodeContext&, ByteReader&) const override {
    KVS_TRY(check_values(rows, count, width_));
    multiply(rows.values, &Head::inverse);
    return {};
  }

  State save() const override {
    std::vector<HeadCodes> codes;
    for (const Head& head : heads_) codes.push_back(head.codes);
    return state_of(codes);
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
      const auto codes_of_head = left.first(own);
      KVS_ASSIGN(
          Head head,
          make_head({dims[h], scales->values[h], {codes_of_head.begin(), codes_of_head.end()}}));
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

  size_t width_ = 0;
  std::vector<Head> heads_;  // empty: rows pass as they are
};

StageInfo::Traits traits(const KeyValues& pairs) {
  StageInfo::Traits t;
  const auto params = parse_params<FisherParams>("fisher", pairs);
  t.information = params.ok() && !params->off();
  return t;
}

}  // namespace

Matrix<double> HeadCodes::matrix() const {
  Matrix<double> a(dim, dim);
  const float* at = codes.data();
  for (size_t i = 0; i < dim; ++i) {
    for (size_t j = 0; j <= i; ++j, ++at) a(i, j) = a(j, i) = double(scale) * *at;
  }
  return a;
}

State state_of(const std::vector<HeadCodes>& heads) {
  if (heads.empty()) return {};
  std::vector<float> sizes, scales, codes;
  for (const HeadCodes& head : heads) {
    sizes.push_back(static_cast<float>(head.dim));
    scales.push_back(head.scale);
    codes.insert(codes.end(), head.codes.begin(), head.codes.end());
  }
  State state;
  state["sizes"] = {{sizes.size()}, sizes};
  state["scales"] = {{scales.size()}, scales};
  state["codes"] = {{codes.size()}, codes, Storage::i8};
  return state;
}

StageInfo fisher_stage() {
  StageInfo info;
  info.name = "fisher";
  info.group = "transform";
  info.summary =
      "Stretches rows where errors change what the model predicts, and shrinks the rest.";
  info.params = describe<FisherParams>();
  info.make = stage_maker<Fisher, FisherParams>("fisher");
  info.traits = traits;
  return info;
}

}  // namespace kvsplice::codec
