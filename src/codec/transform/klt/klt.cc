// Karhunen-Loeve transform: the orthonormal basis in which calibration rows are uncorrelated.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "codec/checks.h"
#include "codec/make_stage.h"
#include "codec/transform/klt/coarse_basis.h"
#include "linalg/linalg.h"

namespace kvsplice::codec {

namespace {

struct Params {
  std::string scope = "layer";
  std::optional<int> rank;
  std::string stored = "f32";

  template <class V>
  void visit(V&& v) {
    v("scope", scope, "what shares one basis: a head, a layer, or all layers of a kind",
      Choice{"head", "layer", "model"});
    v("rank", rank, "coefficients kept of each basis, largest variance first; all if not given",
      Range{1, 1 << 20});
    v("stored", stored, "how the codec file holds the basis; i8 takes a quarter of the bytes",
      Choice{"f32", "i8"});
  }
};

class Klt : public Stage {
 public:
  explicit Klt(const Params& params) : params_(params) {}

  Result<> fit(const Rows& rows, const Context& context) override {
    const MatrixView<const float> x = rows.values;
    if (x.rows == 0) return Error{ErrorKind::numeric, "no rows to learn a basis from"};
    KVS_ASSIGN(const std::vector<size_t> groups, columns_of_groups(x.cols, context.unit));
    const std::vector<double> mean = column_means(x);
    bases_.clear();
    codes_.clear();
    size_t first = 0;
    for (size_t columns : groups) {
      KVS_ASSIGN(const size_t kept, kept_of(columns));
      const std::span<const double> part = std::span(mean).subspan(first, columns);
      KVS_ASSIGN(const Eigen eigen,
                 symmetric_eigen(scatter(x.col_range(first, columns), part, Sums::fast)));
      Matrix<float> basis(kept, columns);
      std::copy_n(eigen.vectors.data(), basis.size(), basis.data());
      KVS_TRY(keep(std::move(basis)));
      first += columns;
    }
    mean_.assign(mean.begin(), mean.end());
    return {};
  }

  Result<> encode(Rows& rows, const Context&, ByteWriter&) const override {
    KVS_TRY(check_fitted(rows, mean_.size()));
    for (size_t r = 0; r < rows.values.rows(); ++r) {
      for (size_t c = 0; c < mean_.size(); ++c) rows.values(r, c) -= mean_[c];
    }
    Matrix<float> out(rows.values.rows(), output_width(mean_.size()));
    for_bases(rows.values, out, [](auto x, auto basis, auto y) {
      gemm(Trans::no, Trans::yes, 1.f, x, basis, 0.f, y);
    });
    rows.values = std::move(out);
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const Context&, ByteReader&) const override {
    KVS_TRY(check_values(rows, count, output_width(mean_.size())));
    Matrix<float> out(count, mean_.size());
    for (size_t r = 0; r < count; ++r) std::copy(mean_.begin(), mean_.end(), out.row(r).begin());
    for_bases(out, rows.values, [](auto x, auto basis, auto y) {
      gemm(Trans::no, Trans::no, 1.f, y, basis, 1.f, x);
    });
    rows.values = std::move(out);
    return {};
  }

  State save() const override {
    State state;
    state["mean"] = {{mean_.size()}, mean_};
    for (size_t i = 0; i < bases_.size(); ++i) {
      const Matrix<float>& saved = coarse() ? codes_[i] : bases_[i];
      state[basis_name(i)] = {{saved.rows(), saved.cols()},
                              {saved.flat().begin(), saved.flat().end()},
                              coarse() ? Storage::i8 : Storage::f32};
    }
    return state;
  }

  Result<> load(const State& state, size_t width) override {
    KVS_ASSIGN(const StateArray* mean, find_array(state, "mean", {width}));
    std::vector<Matrix<float>> bases, codes;
    for (size_t covered = 0; covered < width; covered += bases.back().cols()) {
      const std::string name = basis_name(bases.size());
      KVS_ASSIGN(const StateArray* array, find_array(state, name, {kAny, kAny}));
      const size_t kept = array->dims[0], columns = array->dims[1];
      if (columns == 0 || columns > width - covered || kept == 0 || kept > columns) {
        return Error{ErrorKind::format, fmt::format("array '{}' is {} x {} with {} columns to go",
                                                    name, kept, columns, width - covered)};
      }
      Matrix<float> basis(kept, columns);
      std::copy(array->values.begin(), array->values.end(), basis.data());
      if (coarse()) {
        codes.push_back(std::move(basis));
        KVS_ASSIGN(basis, basis_of_codes(codes.back()));
      }
      bases.push_back(std::move(basis));
    }
    mean_ = mean->values;
    bases_ = std::move(bases);
    codes_ = std::move(codes);
    return {};
  }

  size_t output_width(size_t) const override {
    return std::accumulate(bases_.begin(), bases_.end(), size_t{0},
                           [](size_t sum, const Matrix<float>& b) { return sum + b.rows(); });
  }

 private:
  bool coarse() const { return params_.stored == "i8"; }

  // Takes a basis over as it will be loaded again.
  Result<> keep(Matrix<float> basis) {
    if (coarse()) {
      codes_.push_back(basis_codes(basis));
      KVS_ASSIGN(basis, basis_of_codes(codes_.back()));
    }
    bases_.push_back(std::move(basis));
    return {};
  }

  static std::string basis_name(size_t i) { return fmt::format("basis.{}", i); }

  Result<std::vector<size_t>> columns_of_groups(size_t width, const Unit& unit) const {
    if (params_.scope != "head") return std::vector<size_t>{width};
    KVS_TRY(check_heads(unit, width));
    return std::vector<size_t>(unit.head_dims.begin(), unit.head_dims.end());
  }

  Result<size_t> kept_of(size_t columns) const {
    const size_t kept = params_.rank ? static_cast<size_t>(*params_.rank) : columns;
    if (kept <= columns) return kept;
    return Error{ErrorKind::usage,
                 fmt::format("rank = {} is more than the {} columns of a basis (scope = {}); "
                             "legal: 1 ... {}",
                             kept, columns, params_.scope, columns)};
  }

  // Calls body(columns of `wide`, basis, columns of `narrow`) for every basis.
  template <class Wide, class Narrow, class Body>
  void for_bases(Matrix<Wide>& wide, Matrix<Narrow>& narrow, const Body& body) const {
    size_t left = 0, right = 0;
    for (const Matrix<float>& basis : bases_) {
      body(wide.view().col_range(left, basis.cols()), basis.view(),
           narrow.view().col_range(right, basis.rows()));
      left += basis.cols();
      right += basis.rows();
    }
  }

  Params params_;
  std::vector<float> mean_;
  std::vector<Matrix<float>> codes_;  // of the bases, if they are stored as such
  std::vector<Matrix<float>> bases_;  // [kept x columns], rows are orthonormal
};

}  // namespace

StageInfo klt_stage() {
  StageInfo info;
  info.name = "klt";
  info.aliases = {"pca"};
  info.group = "transform";
  info.summary = "Removes the mean and turns rows into the eigenbasis of their covariance (PCA).";
  info.params = describe<Params>();
  info.make = stage_maker<Klt, Params>("klt");
  info.traits = [](const KeyValues& pairs) {
    const auto params = parse_params<Params>("klt", pairs);
    StageInfo::Traits traits;
    traits.joins_layers = params.ok() && params->scope == "model";
    return traits;
  };
  return info;
}

}  // namespace kvsplice::codec
