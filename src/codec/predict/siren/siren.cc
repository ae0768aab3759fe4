// Sine networks from position to vector: the cache is computed, not stored. What is stored are the
// networks, as side data of the block; networks of the calibration rows are kept in the codec.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "codec/checks.h"
#include "codec/make_stage.h"
#include "codec/predict/siren/networks.h"

namespace kvsplice::codec {

namespace {

class Siren : public Stage {
 public:
  explicit Siren(const SirenParams& params) : params_(params) {}

  Result<> encode(Rows& rows, const CodeContext& context, ByteWriter& side) const override {
    KVS_TRY(check_heads(context.unit, rows.values.cols()));
    const Matrix<float> values = std::exchange(rows.values, Matrix<float>(rows.count(), 0));
    if (values.rows() == 0) return {};
    const bool known = !fitted_.empty() && hash_rows(context) == fitted_rows_;
    std::vector<functions::SirenModel> trained;
    if (!known) {
      KVS_ASSIGN(trained, train_networks(params_, context.unit, values, {}));
    }
    side.put_varint(values.rows());
    for (const functions::SirenModel& model : known ? fitted_ : trained) {
      side.put_array(std::span(model.scale.mean));
      side.put_array(std::span(model.scale.deviation));
      side.put_array(std::span(model.parameters));
    }
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const CodeContext& context,
                  ByteReader& side) const override {
    Matrix<float> out(count, context.unit.width());
    if (count > 0) KVS_TRY(check_count(count, side));
    for (const Columns& columns : columns_of_networks(params_, context.unit)) {
      if (count == 0) break;
      KVS_ASSIGN(const functions::SirenModel model, read_model(columns.count, side));
      const Matrix<float> part = model.evaluate(functions::unit_positions(count));
      for (size_t r = 0; r < count; ++r) {
        std::copy_n(part.row(r).begin(), columns.count, out.row(r).begin() + columns.first);
      }
    }
    rows.values = std::move(out);
    return {};
  }

  State save() const override {
    return fitted_.empty() ? State{} : save_networks(fitted_, fitted_rows_);
  }

  // Without state no rows are known, and every block trains its own networks.
  Result<> load(const State& state, size_t width) override {
    if (state.empty()) {
      fitted_.clear();
      return {};
    }
    KVS_ASSIGN(const uint64_t hash, load_hash(state));
    std::vector<functions::SirenModel> models;
    for (size_t columns = 0; columns < width; columns += models.back().shape.outputs) {
      KVS_ASSIGN(functions::SirenModel model, load_model(state, models.size()));
      if (model.shape.outputs > width - columns) {
        return Error{ErrorKind::format, fmt::format("siren: networks of {} columns for {}",
                                                    columns + model.shape.outputs, width)};
      }
      models.push_back(std::move(model));
    }
    fitted_rows_ = hash;
    fitted_ = std::move(models);
    return {};
  }

  size_t output_width(size_t) const override { return 0; }

 private:
  functions::SirenModel empty_model(size_t outputs) const {
    functions::SirenModel model;
    model.shape = params_.shape();
    model.shape.outputs = outputs;
    return model;
  }

  Result<functions::SirenModel> read_model(size_t outputs, ByteReader& side) const {
    functions::SirenModel model = empty_model(outputs);
    KVS_ASSIGN(model.scale.mean, side.get_array<float>(outputs));
    KVS_ASSIGN(model.scale.deviation, side.get_array<float>(outputs));
    KVS_ASSIGN(model.parameters, side.get_array<float>(model.shape.parameters()));
    for (auto* values : {&model.scale.mean, &model.scale.deviation, &model.parameters}) {
      KVS_TRY(check_finite({values->data(), 1, values->size()}));
    }
    return model;
  }

  static Result<uint64_t> load_hash(const State& state) {
    KVS_ASSIGN(const StateArray* parts, find_array(state, "rows", {4}));
    uint64_t hash = 0;
    for (int i = 0; i < 4; ++i) {
      const float part = parts->values[size_t(i)];
      if (!(part >= 0 && part <= 0xffff)) {
        return Error{ErrorKind::format, fmt::format("siren: 'rows' holds {}, not 16 bits", part)};
      }
      hash |= uint64_t(part) << (16 * i);
    }
    return hash;
  }

  Result<functions::SirenModel> load_model(const State& state, size_t i) const {
    KVS_ASSIGN(const StateArray* mean, find_array(state, fmt::format("mean.{}", i), {kAny}));
    const size_t outputs = mean->values.size();
    if (outputs == 0) {
      return Error{ErrorKind::format, fmt::format("siren: network {} has no columns", i)};
    }
    functions::SirenModel model = empty_model(outputs);
    KVS_ASSIGN(const StateArray* deviation,
               find_array(state, fmt::format("deviation.{}", i), {outputs}));
    KVS_ASSIGN(const StateArray* parameters,
               find_array(state, fmt::format("parameters.{}", i), {model.shape.parameters()}));
    model.scale = {mean->values, deviation->values};
    model.parameters = parameters->values;
    return model;
  }

  SirenParams params_;
  std::vector<functions::SirenModel> fitted_;  // of the calibration rows
  uint64_t fitted_rows_ = 0;
};

}  // namespace

StageInfo siren_stage() {
  StageInfo info;
  info.name = "siren";
  info.group = "predict";
  info.summary = "Sine networks from position to vector, trained on and stored with every block.";
  info.params = describe<SirenParams>();
  info.make = stage_maker<Siren, SirenParams>("siren");
  info.traits = [](const KeyValues&) {
    StageInfo::Traits traits;
    traits.whole_block = true;
    return traits;
  };
  return info;
}

}  // namespace kvsplice::codec
