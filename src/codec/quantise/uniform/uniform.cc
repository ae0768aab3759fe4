// Block quantiser: runs of consecutive values of a row share one f16 scale, as in the block formats
// of inference engines. It learns nothing.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "codec/checks.h"
#include "codec/make_stage.h"
#include "core/half.h"

namespace kvsplice::codec {

namespace {

struct Params {
  int bits = 4;
  int block = 32;

  template <class V>
  void visit(V&& v) {
    v("bits", bits, "bits per code", Range{2, 8});
    v("block", block, "consecutive values of a row that share a scale", Range{8, 1024});
  }
};

class Uniform : public Stage {
 public:
  explicit Uniform(const Params& params)
      : params_(params), largest_((1 << (params.bits - 1)) - 1) {}

  Result<> encode(Rows& rows, const CodeContext&, ByteWriter& side) const override {
    const size_t width = rows.values.cols();
    KVS_TRY(check_finite(rows.values));
    rows.codes = Matrix<int32_t>(rows.values.rows(), width);
    for (size_t r = 0; r < rows.codes.rows(); ++r) {
      for (size_t c = 0; c < width; c += block()) {
        const size_t n = std::min(block(), width - c);
        const std::span<const float> x = std::as_const(rows.values).row(r).subspan(c, n);
        const uint16_t scale = scale_of(x);
        if (scale >= kInfinity) {
          return Error{ErrorKind::numeric,
                       fmt::format("row {}, columns {} ... {}: magnitudes up to {} can be coded", r,
                                   c, c + n - 1, 65504.f * largest_)};
        }
        quantise(x, from_half(scale), rows.codes.row(r).subspan(c, n));
        side.put(scale);
      }
    }
    rows.values = {};
    rows.quantised = true;
    rows.code_bits = params_.bits;
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const CodeContext&, ByteReader& side) const override {
    const size_t width = rows.codes.cols();
    KVS_TRY(check_codes(rows, count, width));
    const size_t per_row = (width + block() - 1) / block();
    KVS_ASSIGN(const auto scales, side.get_array<uint16_t>(count * per_row));
    rows.values = Matrix<float>(count, width);
    for (size_t r = 0; r < count; ++r) {
      for (size_t c = 0; c < width; ++c) {
        const uint16_t scale = scales[r * per_row + c / block()];
        if (scale >= kInfinity) {
          return Error{ErrorKind::format, fmt::format("row {}: scale {:#06x} is no finite f16 that "
                                                      "is positive",
                                                      r, scale)};
        }
        rows.values(r, c) = static_cast<float>(rows.codes(r, c)) * from_half(scale);
      }
    }
    rows.codes = {};
    rows.quantised = false;
    return {};
  }

  Result<> load(const State&, size_t width) override { return check_some_columns(width); }

 private:
  static constexpr uint16_t kInfinity = 0x7c00;  // this and above: infinite, NaN or negative

  size_t block() const { return static_cast<size_t>(params_.block); }

  // The f16 nearest to the largest magnitude over the largest code; one lower where subnormal
  // scales are so coarse that the largest code would go unused. Using it always makes coding
  // stable: the decoded block has the same scale again.
  uint16_t scale_of(std::span<const float> x) const {
    float most = 0;
    for (float v : x) most = std::max(most, std::abs(v));
    const uint16_t nearest = to_half(most / largest_);
    const bool reached = most / from_half(nearest) >= largest_ - 0.5f;
    return nearest == 0 || nearest >= kInfinity || reached ? nearest : nearest - 1;
  }

  void quantise(std::span<const float> x, float scale, std::span<int32_t> codes) const {
    if (scale == 0) return;  // all codes are 0
    for (size_t i = 0; i < x.size(); ++i) {
      const float magnitude = std::min(std::abs(x[i]) / scale + 0.5f, largest_);
      const auto code = static_cast<int32_t>(magnitude);
      codes[i] = x[i] < 0 ? -code : code;
    }
  }

  Params params_;
  float largest_;
};

}  // namespace

StageInfo uniform_stage() {
  StageInfo info;
  info.name = "uniform";
  info.group = "quantise";
  info.summary = "Symmetric uniform quantiser with one f16 scale per block of a row's values.";
  info.params = describe<Params>();
  info.make = stage_maker<Uniform, Params>("uniform");
  return info;
}

}  // namespace kvsplice::codec
