// Random Fourier features of the position with a linear read-out solved in closed form: a sine
// network of depth zero, no training.
#include "train/fourier.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "codec/float_array.h"
#include "codec/make_stage.h"
#include "linalg/linalg.h"
#include "train/dct.h"
#include "train/least_squares.h"

namespace kvsplice::codec {

namespace {

struct Params {
  int count = 64;
  std::optional<double> band;
  int seed = 0;
  std::string type = "f16";

  template <class V>
  void visit(V&& v) {
    v("count", count, "frequencies; each gives a sine and a cosine", Range{1, 1 << 14});
    v("band", band, "highest frequency, cycles per block (default: what calibration rows ask for)",
      Range{1e-3, 1e6});
    v("seed", seed, "of the frequencies", Range{0, 2147483647});
    v("type", type, "of the read-out's weights", kFloatTypes);
  }
};

class Fourier : public Stage {
 public:
  explicit Fourier(const Params& params) : params_(params) {}

  Result<> fit(const Rows& rows, const Context& context) override {
    KVS_TRY(check_heads(context.unit, rows.values.cols()));
    KVS_TRY(check_finite(rows.values));
    const size_t n = std::max<size_t>(rows.count(), 2);
    const size_t wide =
        rows.count() < 2 ? n : train::bandwidth(train::Dct(rows.count()).forward(rows.values), 0.8);
    // Row k of the cosine transform has k / 2 cycles.
    band_ = std::clamp(float(wide) / float(2 * (n - 1)), kLeastBand, kNyquist);
    return {};
  }

  Result<> encode(Rows& rows, const Context& context, ByteWriter& side) const override {
    KVS_TRY(check_heads(context.unit, rows.values.cols()));
    KVS_TRY(check_finite(rows.values));
    const Matrix<float> values = std::exchange(rows.values, Matrix<float>(rows.count(), 0));
    if (values.rows() == 0) return {};
    KVS_ASSIGN(const auto weights, train::least_squares(features(values.rows()), values));
    side.put_varint(values.rows());
    const std::vector<float> rounded(weights.flat().begin(), weights.flat().end());
    return put_floats(rounded, params_.type, side);
  }

  Result<> decode(Rows& rows, size_t count, const Context& context,
                  ByteReader& side) const override {
    rows.values = Matrix<float>(count, context.unit.width());
    if (count == 0) return {};
    KVS_TRY(check_count(count, side));
    KVS_ASSIGN(const auto weights,
               get_floats(2 * size_t(params_.count) + 1, context.unit.width(), params_.type, side));
    gemm(Trans::no, Trans::no, 1.f, features(count), weights, 0.f, rows.values);
    return {};
  }

  State save() const override {
    State state;
    state["band"] = {{1}, {band_}};
    return state;
  }

  Result<> load(const State& state, size_t) override {
    KVS_ASSIGN(const StateArray* band, find_array(state, "band", {1}));
    const float value = band->values[0];
    if (!(value >= kLeastBand && value <= kNyquist)) {
      return Error{ErrorKind::format, fmt::format("fourier: a band of {} cycles per row; legal: "
                                                  "{} ... {}",
                                                  value, kLeastBand, kNyquist)};
    }
    band_ = value;
    return {};
  }

  size_t output_width(size_t) const override { return 0; }

 private:
  static constexpr float kLeastBand = 1e-6f, kNyquist = 0.5f;  // cycles per row

  Matrix<float> features(size_t rows) const {
    return train::fourier_features(
        train::fourier_frequencies(size_t(params_.count), band_of(rows), uint64_t(params_.seed)),
        rows);
  }

  // No narrower than a cycle per frequency, below which features depend on each other; no wider
  // than what rows can tell from slower waves.
  double band_of(size_t rows) const {
    const double steps = double(rows - 1);
    const double wanted =
        params_.band.value_or(std::max(double(band_) * steps, double(params_.count)));
    return std::min(wanted, kNyquist * steps);
  }

  Params params_;
  float band_ = kNyquist;  // of the calibration rows
};

}  // namespace

StageInfo fourier_stage() {
  StageInfo info;
  info.name = "fourier";
  info.group = "predict";
  info.summary = "Random sines and cosines of the position, read out by least squares per block.";
  info.params = describe<Params>();
  info.make = stage_maker<Fourier, Params>("fourier");
  info.traits = [](const KeyValues&) {
    StageInfo::Traits traits;
    traits.whole_block = true;
    return traits;
  };
  return info;
}

}  // namespace kvsplice::codec
