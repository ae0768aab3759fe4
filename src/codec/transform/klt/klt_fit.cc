#include <fmt/format.h>

#include <algorithm>

#include "codec/checks.h"
#include "codec/packed_integers.h"
#include "codec/transform/klt/coarse_basis_fit.h"
#include "codec/transform/klt/klt.h"
#include "fit/stage_fit.h"
#include "solve/solve.h"

namespace kvsplice::codec {

namespace {

Result<std::vector<size_t>> columns_of_groups(const KltParams& params, size_t width,
                                              const Unit& unit) {
  if (params.scope != "head") return std::vector<size_t>{width};
  KVS_TRY(check_heads(unit, width));
  std::vector<size_t> columns;
  for (size_t h = 0; h < unit.head_dims.size(); ++h) {
    if (h % size_t(params.heads) == 0) columns.push_back(0);
    columns.back() += size_t(unit.head_dims[h]);
  }
  return columns;
}

Result<size_t> kept_of(const KltParams& params, size_t columns) {
  const size_t kept = params.rank ? static_cast<size_t>(*params.rank) : columns;
  if (kept <= columns) return kept;
  return Error{ErrorKind::usage,
               fmt::format("rank = {} is more than the {} columns of a basis (scope = {}); "
                           "legal: 1 ... {}",
                           kept, columns, params.scope, columns)};
}

void pack_bases(const Bases& bases, State& state) {
  std::vector<float> all;
  for (const Matrix<float>& basis : bases) {
    const Matrix<float> codes = basis_codes(basis);
    all.insert(all.end(), codes.flat().begin(), codes.flat().end());
  }
  save_sizes(bases, state);
  state["codes"] = pack_integers(all, bases[0].cols());
}

Result<State> fit_klt(const KltParams& params, const Rows& rows, const FitContext& context) {
  const MatrixView<const float> x = rows.values;
  if (x.rows == 0) return Error{ErrorKind::numeric, "no rows to learn a basis from"};
  KVS_ASSIGN(const std::vector<size_t> groups, columns_of_groups(params, x.cols, context.unit));
  const std::vector<double> mean = column_means(x);
  Bases bases;
  size_t first = 0;
  for (size_t columns : groups) {
    KVS_ASSIGN(const size_t kept, kept_of(params, columns));
    const std::span<const double> part = std::span(mean).subspan(first, columns);
    KVS_ASSIGN(const Eigen eigen,
               symmetric_eigen(scatter(x.col_range(first, columns), part, Sums::fast)));
    Matrix<float> basis(kept, columns);
    std::copy_n(eigen.vectors.data(), basis.size(), basis.data());
    bases.push_back(std::move(basis));
    first += columns;
  }
  State state;
  state["mean"] = {{mean.size()}, {mean.begin(), mean.end()}};
  if (params.packed()) {
    pack_bases(bases, state);
  } else {
    save_bases(bases, state);
  }
  return state;
}

}  // namespace

StageFit klt_fit() { return stage_fit<KltParams>("klt", fit_klt); }

}  // namespace kvsplice::codec
