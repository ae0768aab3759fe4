// Karhunen-Loeve transform: the orthonormal basis in which calibration rows are uncorrelated.
#include "codec/transform/klt/klt.h"

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

std::string basis_name(size_t i) { return fmt::format("basis.{}", i); }

class Klt : public Stage {
 public:
  explicit Klt(const KltParams& params) : params_(params) {}

  Result<> encode(Rows& rows, const CodeContext&, ByteWriter&) const override {
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

  Result<> decode(Rows& rows, size_t count, const CodeContext&, ByteReader&) const override {
    KVS_TRY(check_values(rows, count, output_width(mean_.size())));
    Matrix<float> out(count, mean_.size());
    for (size_t r = 0; r < count; ++r) std::copy(mean_.begin(), mean_.end(), out.row(r).begin());
    for_bases(out, rows.values, [](auto x, auto basis, auto y) {
      const size_t used = columns_in_use(y);  // at coarse steps often half of them
      gemm(Trans::no, Trans::no, 1.f, y.col_range(0, used), basis.row_range(0, used), 1.f, x);
    });
    rows.values = std::move(out);
    return {};
  }

  State save() const override {
    State state;
    state["mean"] = {{mean_.size()}, mean_};
    if (params_.packed()) {
      save_sizes(bases_, state);
      state["codes"] = packed_;
    } else {
      save_bases(bases_, state);
    }
    return state;
  }

  Result<> load(const State& state, size_t width) override {
    KVS_ASSIGN(const StateArray* mean, find_array(state, "mean", {width}));
    Bases bases;
    StateArray packed;
    if (params_.packed()) {
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
  static Result<> check_basis(size_t kept, size_t columns, size_t to_go) {
    if (columns > 0 && columns <= to_go && kept > 0 && kept <= columns) return {};
    return Error{ErrorKind::format,
                 fmt::format("a basis of {} x {} with {} columns to go", kept, columns, to_go)};
  }

  static Result<Bases> load_codes(const State& state, size_t width) {
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
    Bases bases;
    for (size_t i = 0; i < sizes->values.size(); i += 2) {
      Matrix<float> basis(size(i), size(i + 1));
      std::copy_n(at, basis.size(), basis.data());
      at += basis.size();
      KVS_ASSIGN(basis, basis_of_codes(basis));
      bases.push_back(std::move(basis));
    }
    return bases;
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

  KltParams params_;
  std::vector<float> mean_;
  Bases bases_;
  StateArray packed_;  // their codes as they are saved: kept, as another machine may pack otherwise
};

}  // namespace

void save_bases(const Bases& bases, State& state) {
  for (size_t i = 0; i < bases.size(); ++i) {
    const Matrix<float>& saved = bases[i];
    state[basis_name(i)] = {{saved.rows(), saved.cols()},
                            {saved.flat().begin(), saved.flat().end()}};
  }
}

void save_sizes(const Bases& bases, State& state) {
  std::vector<float> sizes;
  for (const Matrix<float>& basis : bases) {
    sizes.push_back(static_cast<float>(basis.rows()));
    sizes.push_back(static_cast<float>(basis.cols()));
  }
  state["sizes"] = {{sizes.size()}, sizes};
}

StageInfo klt_stage() {
  StageInfo info;
  info.name = "klt";
  info.aliases = {"pca"};
  info.group = "transform";
  info.summary = "Removes the mean and turns rows into the eigenbasis of their covariance (PCA).";
  info.params = describe<KltParams>();
  info.version = info.oldest = 2;
  info.make = stage_maker<Klt, KltParams>("klt");
  info.traits = [](const KeyValues& pairs) {
    const auto params = parse_params<KltParams>("klt", pairs);
    StageInfo::Traits traits;
    traits.joins_layers = params.ok() && params->scope == "model";
    return traits;
  };
  return info;
}

}  // namespace kvsplice::codec
