// The mean of the calibration rows in place of every row, or in front of what is left. Keys arrive
// before rotary embedding, so what the cache then holds is the rotating mean R(position) * mean:
// one vector for all positions.
#include "codec/predict/rotmean/rotmean.h"

#include "codec/checks.h"
#include "codec/make_stage.h"

namespace kvsplice::codec {

namespace {

class RotatingMean : public Stage {
 public:
  explicit RotatingMean(const RotmeanParams& params) : rest_(params.rest == "on") {}

  Result<> encode(Rows& rows, const CodeContext&, ByteWriter& side) const override {
    KVS_TRY(check_fitted(rows, mean_.size()));
    if (rest_) {
      add_mean(rows.values, -1);
      return {};
    }
    side.put_varint(rows.count());
    rows.values = Matrix<float>(rows.count(), 0);
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const CodeContext&, ByteReader& side) const override {
    if (rest_) {
      KVS_TRY(check_values(rows, count, mean_.size()));
    } else {
      KVS_TRY(check_count(count, side));
      rows.values = Matrix<float>(count, mean_.size());
    }
    add_mean(rows.values, 1);
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

  size_t output_width(size_t width) const override { return rest_ ? width : 0; }

 private:
  void add_mean(Matrix<float>& rows, float factor) const {
    for (size_t r = 0; r < rows.rows(); ++r) {
      for (size_t c = 0; c < mean_.size(); ++c) rows(r, c) += factor * mean_[c];
    }
  }

  bool rest_;
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
