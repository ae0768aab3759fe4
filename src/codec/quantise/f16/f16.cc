// IEEE half precision as integer codes: the reference every other quantiser is measured against.
#include <fmt/format.h>

#include "codec/checks.h"
#include "codec/make_stage.h"
#include "core/half.h"

namespace kvsplice::codec {

namespace {

struct Params {
  template <class V>
  void visit(V&&) {}
};

bool is_finite(uint16_t half) { return (half & 0x7c00) != 0x7c00; }

class Half : public Stage {
 public:
  explicit Half(const Params&) {}

  Result<> encode(Rows& rows, const CodeContext&, ByteWriter&) const override {
    const Matrix<float>& x = rows.values;
    rows.codes = Matrix<int32_t>(x.rows(), x.cols());
    for (size_t i = 0; i < x.size(); ++i) {
      const uint16_t half = to_half(x.flat()[i]);
      if (!is_finite(half)) {
        return Error{ErrorKind::numeric,
                     fmt::format("value {} at row {}, column {} does not fit f16 (at most 65504)",
                                 x.flat()[i], i / x.cols(), i % x.cols())};
      }
      rows.codes.flat()[i] = static_cast<int16_t>(half);
    }
    rows.values = {};
    rows.quantised = true;
    rows.code_bits = 16;
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const CodeContext&, ByteReader&) const override {
    KVS_TRY(check_codes(rows, count, rows.codes.cols()));
    rows.values = Matrix<float>(count, rows.codes.cols());
    for (size_t i = 0; i < rows.codes.size(); ++i) {
      const int32_t code = rows.codes.flat()[i];
      const auto half = static_cast<uint16_t>(code);
      if (static_cast<int16_t>(half) != code || !is_finite(half)) {
        return Error{ErrorKind::format, fmt::format("code {} is no finite f16", code)};
      }
      rows.values.flat()[i] = from_half(half);
    }
    rows.codes = {};
    rows.quantised = false;
    return {};
  }

  Result<> load(const State&, size_t width) override { return check_some_columns(width); }
};

}  // namespace

StageInfo f16_stage() {
  StageInfo info;
  info.name = "f16";
  info.group = "quantise";
  info.summary = "Rounds to IEEE half precision, 16 bits a value.";
  info.params = describe<Params>();
  info.make = stage_maker<Half, Params>("f16");
  return info;
}

}  // namespace kvsplice::codec
