// Truncated singular value decomposition of each head of a block: the usual low-rank baseline. It
// learns nothing; the factors are side data, so short blocks pay for them again and again.
#include <fmt/format.h>

#include <algorithm>

#include "codec/checks.h"
#include "codec/make_stage.h"
#include "codec/transform/svd/low_rank.h"
#include "linalg/linalg.h"

namespace kvsplice::codec {

namespace {

struct Params {
  std::optional<double> ratio;
  std::optional<int> rank;

  template <class V>
  void visit(V&& v) {
    v("ratio", ratio, "f16 bytes over bytes of the f32 factors; the rank follows from it",
      Range{1, 1e6});
    v("rank", rank, "singular values kept per head", Range{1, 1 << 20});
  }

  Result<> check() const {
    if (ratio.has_value() != rank.has_value()) return {};
    return Error{ErrorKind::usage, fmt::format("svd takes exactly one of ratio and rank, got {}",
                                               ratio ? "both" : "neither")};
  }

  // Of an n x d block: as many as the bytes of u, s and v^T as f32 allow.
  size_t rank_of(size_t n, size_t d) const {
    const size_t most = std::min(n, d);
    if (rank) return std::min<size_t>(*rank, most);
    const double fitting = 2.0 * double(n) * double(d) / (*ratio * 4 * double(n + 1 + d));
    return std::min(std::max<size_t>(1, static_cast<size_t>(fitting)), most);
  }
};

class TruncatedSvd : public Stage {
 public:
  explicit TruncatedSvd(const Params& params) : params_(params) {}

  Result<> encode(Rows& rows, const CodeContext& context, ByteWriter& side) const override {
    KVS_TRY(check_heads(context.unit, rows.values.cols()));
    const MatrixView<const float> x = rows.values;
    size_t first = 0;
    for (int dim : context.unit.head_dims) {
      KVS_ASSIGN(const LowRank svd,
                 low_rank(x.col_range(first, dim), params_.rank_of(x.rows, dim)));
      side.put_array(svd.u.flat());
      side.put_array(std::span<const float>(svd.values));
      side.put_array(svd.vt.flat());
      first += dim;
    }
    rows.values = Matrix<float>(x.rows, 0);
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const CodeContext& context,
                  ByteReader& side) const override {
    Matrix<float> out(count, context.unit.width());
    size_t first = 0;
    for (size_t dim : context.unit.head_dims) {
      const size_t rank = params_.rank_of(count, dim);
      KVS_ASSIGN(Matrix<float> u, read_factor(side, count, rank));
      KVS_ASSIGN(const Matrix<float> s, read_factor(side, 1, rank));
      KVS_ASSIGN(const Matrix<float> vt, read_factor(side, rank, dim));
      for (size_t r = 0; r < count; ++r) {
        for (size_t i = 0; i < rank; ++i) u(r, i) *= s(0, i);
      }
      gemm(Trans::no, Trans::no, 1.f, u, vt, 0.f, out.view().col_range(first, dim));
      first += dim;
    }
    rows.values = std::move(out);
    return {};
  }

  Result<> load(const State&, size_t) override { return {}; }
  size_t output_width(size_t) const override { return 0; }

 private:
  static Result<Matrix<float>> read_factor(ByteReader& side, size_t rows, size_t cols) {
    KVS_ASSIGN(const std::vector<float> values, side.get_array<float>(rows * cols));
    Matrix<float> factor(rows, cols);
    std::copy(values.begin(), values.end(), factor.data());
    KVS_TRY(check_finite(factor));
    return factor;
  }

  Params params_;
};

}  // namespace

StageInfo svd_stage() {
  StageInfo info;
  info.name = "svd";
  info.group = "transform";
  info.summary = "Truncated SVD of every head of a block, factors stored as f32 beside the block.";
  info.params = describe<Params>();
  info.make = stage_maker<TruncatedSvd, Params>("svd");
  info.traits = [](const KeyValues&) {
    StageInfo::Traits traits;
    traits.whole_block = true;
    return traits;
  };
  return info;
}

}  // namespace kvsplice::codec
