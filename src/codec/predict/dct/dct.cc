// Cosine transform along the tokens of a block: a position basis in closed form, no training.
#include "functions/dct.h"

#include <fmt/format.h>

#include <numeric>
#include <utility>

#include "codec/float_array.h"
#include "codec/make_stage.h"

namespace kvsplice::codec {

namespace {

struct Params {
  int count = 64;
  std::string order = "energy";
  std::string type = "f16";

  template <class V>
  void visit(V&& v) {
    v("count", count, "coefficients kept per column", Range{1, 1 << 20});
    v("order", order, "those with most energy over all columns, or the lowest",
      Choice{"energy", "low"});
    v("type", type, "of the coefficients", kFloatTypes);
  }
};

class DctStage : public Stage {
 public:
  explicit DctStage(const Params& params) : params_(params) {}

  Result<> encode(Rows& rows, const CodeContext& context, ByteWriter& side) const override {
    KVS_TRY(check_heads(context.unit, rows.values.cols()));
    KVS_TRY(check_finite(rows.values));
    const Matrix<float> values = std::exchange(rows.values, Matrix<float>(rows.count(), 0));
    if (values.rows() == 0) return {};
    const Matrix<float> all = functions::Dct(values.rows()).forward(values);
    const auto kept = params_.order == "energy"
                          ? functions::strongest_rows(all, size_t(params_.count))
                          : lowest_rows(values.rows());
    side.put_varint(values.rows());
    if (params_.order == "energy") put_rows(kept, side);
    for (uint32_t k : kept) KVS_TRY(put_floats(all.row(k), params_.type, side));
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const CodeContext& context,
                  ByteReader& side) const override {
    rows.values = Matrix<float>(count, context.unit.width());
    if (count == 0) return {};
    KVS_TRY(check_count(count, side));
    std::vector<uint32_t> kept = lowest_rows(count);
    if (params_.order == "energy") KVS_TRY(get_rows(count, kept, side));
    KVS_ASSIGN(const auto coefficients,
               get_floats(kept.size(), context.unit.width(), params_.type, side));
    rows.values = functions::Dct(count).inverse(kept, coefficients);
    return {};
  }

  Result<> load(const State&, size_t) override { return {}; }
  size_t output_width(size_t) const override { return 0; }

 private:
  std::vector<uint32_t> lowest_rows(size_t n) const {
    std::vector<uint32_t> rows(std::min(n, size_t(params_.count)));
    std::iota(rows.begin(), rows.end(), 0u);
    return rows;
  }

  // Ascending, as distances from the one before less one.
  static void put_rows(std::span<const uint32_t> rows, ByteWriter& side) {
    uint64_t next = 0;
    for (uint32_t row : rows) {
      side.put_varint(row - next);
      next = uint64_t(row) + 1;
    }
  }

  static Result<> get_rows(size_t n, std::span<uint32_t> rows, ByteReader& side) {
    uint64_t next = 0;
    for (uint32_t& row : rows) {
      KVS_ASSIGN(const uint64_t distance, side.get_varint());
      if (distance >= n - next) {
        return Error{
            ErrorKind::format,
            fmt::format("dct: coefficient {} + {} of a block of {} rows", next, distance, n)};
      }
      row = uint32_t(next + distance);
      next = uint64_t(row) + 1;
    }
    return {};
  }

  Params params_;
};

}  // namespace

StageInfo dct_stage() {
  StageInfo info;
  info.name = "dct";
  info.group = "predict";
  info.summary =
      "Cosine transform along the tokens of a block; a few coefficients per column stay.";
  info.params = describe<Params>();
  info.make = stage_maker<DctStage, Params>("dct");
  info.traits = [](const KeyValues&) {
    StageInfo::Traits traits;
    traits.whole_block = true;
    return traits;
  };
  return info;
}

}  // namespace kvsplice::codec
