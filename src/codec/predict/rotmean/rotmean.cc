// The mean of the calibration rows in place of every row. Keys arrive before rotary embedding, so
// what the cache then holds is the rotating mean R(position) * mean: one vector for all positions.
#include "codec/predict/rotmean/rotmean.h"

#include <algorithm>

#include "codec/checks.h"
#include "codec/make_stage.h"

namespace kvsplice::codec {

namespace {

class RotatingMean : public Stage {
 public:
  explicit RotatingMean(const RotmeanParams&) {}

  Result<> encode(Rows& rows, const CodeContext&, ByteWriter& side) const override {
    KVS_TRY(check_fitted(rows, mean_.size()));
    side.put_varint(rows.count());
    rows.values = Matrix<float>(rows.count(), 0);
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const CodeContext&, ByteReader& side) const override {
    KVS_TRY(check_count(count, side));
    rows.values = Matrix<float>(count, mean_.size());
    for (size_t r = 0; r < count; ++r) {
      std::copy(mean_.begin(), mean_.end(), rows.values.row(r).begin());
    }
    return {};
  }

  State save() const override {
    State state;
    state["mean"] = {{mean_.size()}, mean_};
    return state;
  }

  Result<> load(const State& state, size_t width) override {
    KVS_ASSIGN(const StateArray* mean, find_array(state, "mean", {width}));
    mean_ = mean->values;
    return {};
  }

  size_t output_width(size_t) const override { return 0; }

 private:
  std::vector<float> mean_;
};

}  // namespace

StageInfo rotmean_stage() {
  StageInfo info;
  info.name = "rotmean";
  info.group = "predict";
  info.summary = "One mean vector for all rows; keys in the cache become that mean, rotated.";
  info.params = describe<RotmeanParams>();
  info.make = stage_maker<RotatingMean, RotmeanParams>("rotmean");
  return info;
}

}  // namespace kvsplice::codec
