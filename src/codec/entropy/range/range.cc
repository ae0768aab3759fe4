// Entropy coder for integer codes; the model is calibrated, its state holds integers only.
#include "codec/entropy/range/range.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "codec/checks.h"
#include "codec/make_stage.h"
#include "core/errors.h"
#include "range/block.h"
#include "range/coder_kernel.h"

namespace kvsplice::codec {

namespace {

StateArray integers(std::vector<size_t> dims, std::vector<float> values) {
  const auto within = [&](float low, float high) {
    return std::all_of(values.begin(), values.end(),
                       [=](float v) { return v >= low && v <= high; });
  };
  // All integers up to 2048 are exact as f16.
  const Storage storage = within(-128, 127)     ? Storage::i8
                          : within(-2048, 2048) ? Storage::f16
                                                : Storage::f32;
  return {std::move(dims), std::move(values), storage};
}

template <class T>
std::vector<float> floats(const T& values) {
  return {values.begin(), values.end()};
}

// The array, if all its values are integers in [low, high].
Result<std::vector<int32_t>> read_integers(const State& state, const std::string& name,
                                           const std::vector<size_t>& dims, double low,
                                           double high) {
  KVS_ASSIGN(const StateArray* array, find_array(state, name, dims));
  std::vector<int32_t> out;
  for (float v : array->values) {
    if (!(v >= low && v <= high && v == std::floor(v))) {
      return format_error(
          fmt::format("array '{}' holds {}; legal: integers {} ... {}", name, v, low, high));
    }
    out.push_back(static_cast<int32_t>(v));
  }
  return out;
}

class RangeCoder : public Stage {
 public:
  explicit RangeCoder(const RangeParams&) {}

  Result<> encode(Rows& rows, const CodeContext&, ByteWriter& side) const override {
    KVS_TRY(check_rows(rows));
    if (!all_centres(rows.codes)) {
      range::encode_block(model_, rows.codes, side);
    }
    rows = {};
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const CodeContext&, ByteReader& side) const override {
    Matrix<int32_t> codes(count, model_.columns);
    if (side.left() == 0) {
      for (size_t r = 0; r < count; ++r) {
        std::copy_n(model_.centre.begin(), model_.columns, codes.row(r).begin());
      }
    } else {
      KVS_TRY(range::decode_block(model_, side, codes));
    }
    rows = {{}, std::move(codes), true, 0};
    return {};
  }

  State save() const override { return state_of(calibration_); }

  Result<> load(const State& state, size_t width) override {
    KVS_TRY(check_some_columns(width));
    range::Calibration c;
    const double limit = range::kLargestMean;
    KVS_ASSIGN(c.centre, read_integers(state, "centre", {width}, -limit, limit));
    KVS_ASSIGN(const auto mean, read_integers(state, "mean", {range::groups_of(width)}, 1, limit));
    c.mean.assign(mean.begin(), mean.end());
    KVS_ASSIGN(const auto weights, read_integers(state, "weights", {2}, 0, range::kLargestWeight));
    c.near_weight = weights[0];
    c.past_weight = weights[1];
    KVS_ASSIGN(const auto costs, read_integers(state, "costs", {range::kClasses, range::kSymbols},
                                               0, range::kLargestCost));
    for (size_t i = 0; i < costs.size(); ++i) {
      c.costs[i / range::kSymbols][i % range::kSymbols] = static_cast<uint8_t>(costs[i]);
    }
    KVS_ASSIGN(model_, range::make_model(c));
    calibration_ = std::move(c);
    return {};
  }

  size_t output_width(size_t) const override { return 0; }

 private:
  Result<> check_rows(const Rows& rows) const {
    KVS_TRY(check_codes(rows, rows.codes.rows(), model_.columns));
    for (size_t r = 0; r < rows.codes.rows(); ++r) {
      for (size_t c = 0; c < model_.columns; ++c) {
        const int32_t code = rows.codes(r, c), centre = model_.centre[c];
        if (range::within_reach(code, centre)) continue;
        return Error{ErrorKind::numeric, fmt::format("code {} is beyond {} +- 2^30", code, centre)};
      }
    }
    return {};
  }

  bool all_centres(const Matrix<int32_t>& codes) const {
    for (size_t r = 0; r < codes.rows(); ++r) {
      const auto row = codes.row(r);
      if (!std::equal(row.begin(), row.end(), model_.centre.begin())) return false;
    }
    return true;
  }

  range::Calibration calibration_;
  range::Model model_;
};

}  // namespace

State state_of(const range::Calibration& c) {
  std::vector<float> costs;
  for (const auto& one : c.costs) costs.insert(costs.end(), one.begin(), one.end());
  State state;
  state["centre"] = integers({c.centre.size()}, floats(c.centre));
  state["mean"] = integers({c.mean.size()}, floats(c.mean));
  state["weights"] = integers({2}, {float(c.near_weight), float(c.past_weight)});
  state["costs"] = integers({range::kClasses, range::kSymbols}, std::move(costs));
  return state;
}

StageInfo range_stage() {
  StageInfo info;
  info.name = "range";
  info.group = "entropy";
  info.summary =
      "Interleaved rANS coder with calibrated classes chosen by neighbouring magnitudes.";
  info.params = describe<RangeParams>();
  info.make = stage_maker<RangeCoder, RangeParams>("range");
  return info;
}

}  // namespace kvsplice::codec
