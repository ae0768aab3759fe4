// Random Fourier features of the position with a linear read-out solved in closed form: a sine
// network of depth zero, no training.
#include "codec/predict/fourier/fourier.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "codec/make_stage.h"
#include "functions/fourier.h"
#include "functions/least_squares.h"
#include "linalg/linalg.h"

namespace kvsplice::codec {

namespace {

class Fourier : public Stage {
 public:
  explicit Fourier(const FourierParams& params) : params_(params) {}

  Result<> encode(Rows& rows, const CodeContext& context, ByteWriter& side) const override {
    KVS_TRY(check_heads(context.unit, rows.values.cols()));
    KVS_TRY(check_finite(rows.values));
    const Matrix<float> values = std::exchange(rows.values, Matrix<float>(rows.count(), 0));
    if (values.rows() == 0) return {};
    KVS_ASSIGN(const auto weights, functions::least_squares(features(values.rows()), values));
    side.put_varint(values.rows());
    const std::vector<float> rounded(weights.flat().begin(), weights.flat().end());
    return put_floats(rounded, params_.type, side);
  }

  Result<> decode(Rows& rows, size_t count, const CodeContext& context,
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
  Matrix<float> features(size_t rows) const {
    return functions::fourier_features(
        functions::fourier_frequencies(size_t(params_.count), band_of(rows),
                                       uint64_t(params_.seed)),
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

  FourierParams params_;
  float band_ = kNyquist;  // of the calibration rows
};

}  // namespace

StageInfo fourier_stage() {
  StageInfo info;
  info.name = "fourier";
  info.group = "predict";
  info.summary = "Random sines and cosines of the position, read out by least squares per block.";
  info.params = describe<FourierParams>();
  info.make = stage_maker<Fourier, FourierParams>("fourier");
  info.traits = [](const KeyValues&) {
    StageInfo::Traits traits;
    traits.whole_block = true;
    return traits;
  };
  return info;
}

}  // namespace kvsplice::codec
