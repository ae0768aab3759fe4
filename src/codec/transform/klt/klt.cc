// Karhunen-Loeve transform: the orthonormal basis in which calibration rows are uncorrelated.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "codec/checks.h"
#include "codec/make_stage.h"
#include "codec/packed_integers.h"
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
    v("stored", stored, "how the codec file holds the basis; packed takes a sixth of the bytes",
      Choice{"f32", "packed"});
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
    size_t first = 0;
    for (size_t columns : groups) {
      KVS_ASSIGN(const size_t kept, kept_of(columns));
      const std::span<const double> part = std::span(mean).subspan(first, columns);
      KVS_ASSIGN(const Eigen eigen,
                 symmetric_eigen(scatter(x.col_range(first, columns), part, Sums::fast)));
      Matrix<float> basis(kept, columns);
      std::copy_n(eigen.vectors.data(), basis.size(), basis.data());
      bases_.push_back(std::move(basis));
      first += columns;
    }
    if (coarse()) KVS_TRY(round_bases());
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
    if (coarse()) {
      save_codes(state);
      return state;
    }
    for (size_t i = 0; i < bases_.size(); ++i) {
      const Matrix<float>& saved = bases_[i];
      state[basis_name(i)] = {{saved.rows(), saved.cols()},
                              {saved.flat().begin(), saved.flat().end()}};
    }
    return state;
  }

  Result<> load(const State& state, size_t width) override {
    KVS_ASSIGN(const StateArray* mean, find_array(state, "mean", {width}));
    std::vector<Matrix<float>> bases;
    StateArray packed;
    if (coarse()) {
      KVS_ASSIGN(bases, load_codes(state, width));
      packed = state.at("codes");
    } else {
      for (size_t covered = 0; covered < width; covered += bases.back().cols()) {
        const std::string name = basis_name(bases.size());
        KVS_ASSIGN(const StateArray* array, find_array(state, name, {kAny, kAny}));
        KVS_TRY(check_basis(array->dims[0], array->dims[1], width - covered));
        bases.emplace_back(array->dims[0], array->dims[1]);
        std::copy(array->values.begin(), array->values.end(), bases.back().data());
      }
    }
    mean_ = mean->values;
    bases_ = std::move(bases);
    packed_ = std::move(packed);
    return {};
  }

  size_t output_width(size_t) const override {
    return std::accumulate(bases_.begin(), bases_.end(), size_t{0},
                           [](size_t sum, const Matrix<float>& b) { return sum + b.rows(); });
  }

 private:
  bool coarse() const { return params_.stored == "packed"; }

  static Result<> check_basis(size_t kept, size_t columns, size_t to_go) {
    if (columns > 0 && columns <= to_go && kept > 0 && kept <= columns) return {};
    return Error{ErrorKind::format,
                 fmt::format("a basis of {} x {} with {} columns to go", kept, columns, to_go)};
  }

  // Makes the bases what they will be when they are loaded again.
  Result<> round_bases() {
    std::vector<float> all;
    for (Matrix<float>& basis : bases_) {
      const Matrix<float> codes = basis_codes(basis);
      all.insert(all.end(), codes.flat().begin(), codes.flat().end());
      KVS_ASSIGN(basis, basis_of_codes(codes));
    }
    packed_ = pack_integers(all, bases_[0].cols());
    return {};
  }

  void save_codes(State& state) const {
    std::vector<float> sizes;
    for (const Matrix<float>& basis : bases_) {
      sizes.push_back(static_cast<float>(basis.rows()));
      sizes.push_back(static_cast<float>(basis.cols()));
    }
    state["sizes"] = {{sizes.size()}, sizes};
    state["codes"] = packed_;
  }

  static Result<std::vector<Matrix<float>>> load_codes(const State& state, size_t width) {
    KVS_ASSIGN(const StateArray* sizes, find_array(state, "sizes", {kAny}));
    if (sizes->values.size() % 2 != 0) return Error{ErrorKind::format, "a basis without columns"};
    const auto size = [&](size_t i) {
      const float v = sizes->values[i];
      return v >= 1 && v <= float(width) ? size_t(v) : 0;
    };
    size_t covered = 0, count = 0;
    for (size_t i = 0; i < sizes->values.size(); i += 2) {
      KVS_TRY(check_basis(size(i), size(i + 1), width - covered));
      covered += size(i + 1);
      count += size(i) * size(i + 1);
    }
    if (covered != width || width == 0) {
      return Error{ErrorKind::format, fmt::format("bases of {} of {} columns", covered, width)};
    }
    KVS_ASSIGN(const Matrix<int32_t> codes, unpack_integers(state, "codes", count, size(1)));
    const int32_t* at = codes.data();
    std::vector<Matrix<float>> bases;
    for (size_t i = 0; i < sizes->values.size(); i += 2) {
      Matrix<float> basis(size(i), size(i + 1));
      std::copy_n(at, basis.size(), basis.data());
      at += basis.size();
      KVS_ASSIGN(basis, basis_of_codes(basis));
      bases.push_back(std::move(basis));
    }
    return bases;
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
  std::vector<Matrix<float>> bases_;  // [kept x columns], rows are orthonormal
  StateArray
      packed_;  // their codes, as they are saved: kept, as another machine may pack otherwise
};

}  // namespace

StageInfo klt_stage() {
  StageInfo info;
  info.name = "klt";
  info.aliases = {"pca"};
  info.group = "transform";
  info.summary = "Removes the mean and turns rows into the eigenbasis of their covariance (PCA).";
  info.params = describe<Params>();
  info.version = info.oldest = 2;
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
