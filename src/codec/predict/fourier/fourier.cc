// Random Fourier features of the position with a linear read-out solved in closed form: a sine
// network of depth zero, no training.
#include "train/fourier.h"

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
    v("band", band, "highest frequency, cycles per block (default: what the rows ask for)",
      Range{1e-3, 1e6});
    v("seed", seed, "of the frequencies", Range{0, 2147483647});
    v("type", type, "of the read-out's weights", kFloatTypes);
  }
};

class Fourier : public Stage {
 public:
  explicit Fourier(const Params& params) : params_(params) {}

  Result<> fit(const Rows& rows, const Context& context) override {
    return check_heads(context.unit, rows.values.cols());
  }

  Result<> encode(Rows& rows, const Context& context, ByteWriter& side) const override {
    KVS_TRY(check_heads(context.unit, rows.values.cols()));
    KVS_TRY(check_finite(rows.values));
    const Matrix<float> values = std::exchange(rows.values, Matrix<float>(rows.count(), 0));
    if (values.rows() == 0) return {};
    const float band = band_of(values);
    KVS_ASSIGN(const auto weights, train::least_squares(features(band, values.rows()), values));
    side.put(band);
    const std::vector<float> rounded(weights.flat().begin(), weights.flat().end());
    return put_floats(rounded, params_.type, side);
  }

  Result<> decode(Rows& rows, size_t count, const Context& context,
                  ByteReader& side) const override {
    rows.values = Matrix<float>(count, context.unit.width());
    if (count == 0) return {};
    KVS_ASSIGN(const float band, side.get<float>());
    KVS_TRY(check_finite({&band, 1, 1}));
    KVS_ASSIGN(const auto weights,
               get_floats(2 * size_t(params_.count) + 1, context.unit.width(), params_.type, side));
    gemm(Trans::no, Trans::no, 1.f, features(band, count), weights, 0.f, rows.values);
    return {};
  }

  Result<> load(const State&, size_t) override { return {}; }
  size_t output_width(size_t) const override { return 0; }

 private:
  Matrix<float> features(float band, size_t rows) const {
    return train::fourier_features(
        train::fourier_frequencies(size_t(params_.count), double(band), uint64_t(params_.seed)),
        rows);
  }

  // Wide enough for most of the energy, and no narrower than a cycle per frequency, below which
  // features depend on each other. Row k of the cosine transform has k / 2 cycles.
  float band_of(const Matrix<float>& values) const {
    if (params_.band) return float(*params_.band);
    const size_t wanted = train::bandwidth(train::Dct(values.rows()).forward(values), 0.8);
    return float(std::max(double(wanted) / 2, double(params_.count)));
  }

  Params params_;
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
