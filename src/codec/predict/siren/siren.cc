// Sine networks from position to vector: the cache is computed, not stored. What is stored are the
// networks, as side data of the block; networks of the calibration rows are kept in the codec.
#include "train/siren.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "codec/checks.h"
#include "codec/make_stage.h"

namespace kvsplice::codec {

namespace {

struct Params {
  std::string config = "medium";
  std::optional<int> hidden, layers;
  std::optional<double> omega;
  std::string trainer = "adam";
  std::optional<int> epochs;
  std::optional<double> lr;
  double stop = 0;
  int seed = 0;
  std::string share = "head";

  template <class V>
  void visit(V&& v) {
    v("config", config, "named network that hidden, layers and omega start from",
      Choice{"tiny", "small", "medium", "large", "deep", "hifreq", "lofreq"});
    v("hidden", hidden, "units of a sine layer", Range{1, 4096});
    v("layers", layers, "sine layers behind the first", Range{0, 16});
    v("omega", omega, "factor inside of every sine", Range{0.01, 1000});
    v("trainer", trainer, "the recipe's Adam, or variable projection", Choice{"adam", "varpro"});
    v("epochs", epochs, "passes over the rows (2000 with adam, 20 with varpro)", Range{0, 1e6});
    v("lr", lr, "first learning rate (1e-4 with adam, 1e-3 with varpro)", Range{1e-9, 1});
    v("stop", stop, "stop when a tenth of the epochs gains less than this share", Range{0, 1});
    v("seed", seed, "of the initial parameters", Range{0, 2147483647});
    v("share", share, "what has a network of its own", Choice{"head", "layer"});
  }

  train::SirenShape shape() const {
    const auto preset =
        std::find_if(std::begin(train::kSirenPresets), std::end(train::kSirenPresets),
                     [&](const train::SirenPreset& p) { return p.name == config; });
    train::SirenShape shape = preset->shape;
    if (hidden) shape.hidden = size_t(*hidden);
    if (layers) shape.layers = size_t(*layers);
    if (omega) shape.omega = *omega;
    return shape;
  }

  train::SirenOptions options() const {
    train::SirenOptions options;
    options.trainer = trainer == "adam" ? train::SirenOptions::Trainer::adam
                                        : train::SirenOptions::Trainer::varpro;
    if (epochs) options.epochs = size_t(*epochs);
    options.rate = lr;
    options.stop_below = stop;
    options.seed = uint64_t(seed);
    return options;
  }
};

// What identifies rows that have been fitted: 64 bits, kept in the state as four exact floats.
uint64_t hash_rows(const Context& context) {
  const auto bytes = [](std::span<const int32_t> values) {
    return ByteSpan(reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes());
  };
  return hash64(bytes(context.positions), hash64(bytes(context.tokens)));
}

struct Columns {
  size_t first, count;
};

class Siren : public Stage {
 public:
  explicit Siren(const Params& params) : params_(params) {}

  Result<> fit(const Rows& rows, const Context& context) override {
    KVS_TRY(check_heads(context.unit, rows.values.cols()));
    KVS_ASSIGN(fitted_, fit_networks(rows.values, context));
    fitted_rows_ = hash_rows(context);
    return {};
  }

  Result<> encode(Rows& rows, const Context& context, ByteWriter& side) const override {
    KVS_TRY(check_heads(context.unit, rows.values.cols()));
    const Matrix<float> values = std::exchange(rows.values, Matrix<float>(rows.count(), 0));
    if (values.rows() == 0) return {};
    const bool known = !fitted_.empty() && hash_rows(context) == fitted_rows_;
    std::vector<train::SirenModel> trained;
    if (!known) {
      KVS_ASSIGN(trained, fit_networks(values, context));
    }
    side.put_varint(values.rows());
    for (const train::SirenModel& model : known ? fitted_ : trained) {
      side.put_array(std::span(model.scale.mean));
      side.put_array(std::span(model.scale.deviation));
      side.put_array(std::span(model.parameters));
    }
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const Context& context,
                  ByteReader& side) const override {
    Matrix<float> out(count, context.unit.width());
    if (count > 0) KVS_TRY(check_count(count, side));
    for (const Columns& columns : networks(context.unit)) {
      if (count == 0) break;
      KVS_ASSIGN(const train::SirenModel model, read_model(columns.count, side));
      const Matrix<float> part = model.evaluate(train::unit_positions(count));
      for (size_t r = 0; r < count; ++r) {
        std::copy_n(part.row(r).begin(), columns.count, out.row(r).begin() + columns.first);
      }
    }
    rows.values = std::move(out);
    return {};
  }

  State save() const override {
    State state;
    if (fitted_.empty()) return state;
    StateArray& hash = state["rows"];
    hash.dims = {4};
    for (int i = 0; i < 4; ++i) hash.values.push_back(float(fitted_rows_ >> (16 * i) & 0xffff));
    for (size_t i = 0; i < fitted_.size(); ++i) {
      const train::SirenModel& model = fitted_[i];
      state[fmt::format("mean.{}", i)] = {{model.scale.mean.size()}, model.scale.mean};
      state[fmt::format("deviation.{}", i)] = {{model.scale.mean.size()}, model.scale.deviation};
      state[fmt::format("parameters.{}", i)] = {{model.parameters.size()}, model.parameters};
    }
    return state;
  }

  Result<> load(const State& state, size_t width) override {
    KVS_ASSIGN(const uint64_t hash, load_hash(state));
    std::vector<train::SirenModel> models;
    for (size_t columns = 0; columns < width; columns += models.back().shape.outputs) {
      KVS_ASSIGN(train::SirenModel model, load_model(state, models.size()));
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
  std::vector<Columns> networks(const Unit& unit) const {
    if (params_.share == "layer") return {{0, unit.width()}};
    std::vector<Columns> heads;
    size_t first = 0;
    for (int dim : unit.head_dims) {
      heads.push_back({first, size_t(dim)});
      first += size_t(dim);
    }
    return heads;
  }

  Result<std::vector<train::SirenModel>> fit_networks(MatrixView<const float> rows,
                                                      const Context& context) const {
    std::vector<MatrixView<const float>> targets;
    for (const Columns& c : networks(context.unit)) {
      targets.push_back(rows.col_range(c.first, c.count));
    }
    KVS_ASSIGN(auto fits,
               train::fit_sirens(targets, params_.shape(), params_.options(), context.progress));
    std::vector<train::SirenModel> models;
    for (auto& fit : fits) models.push_back(std::move(fit.model));
    return models;
  }

  train::SirenModel empty_model(size_t outputs) const {
    train::SirenModel model;
    model.shape = params_.shape();
    model.shape.outputs = outputs;
    return model;
  }

  Result<train::SirenModel> read_model(size_t outputs, ByteReader& side) const {
    train::SirenModel model = empty_model(outputs);
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

  Result<train::SirenModel> load_model(const State& state, size_t i) const {
    KVS_ASSIGN(const StateArray* mean, find_array(state, fmt::format("mean.{}", i), {kAny}));
    const size_t outputs = mean->values.size();
    if (outputs == 0) {
      return Error{ErrorKind::format, fmt::format("siren: network {} has no columns", i)};
    }
    train::SirenModel model = empty_model(outputs);
    KVS_ASSIGN(const StateArray* deviation,
               find_array(state, fmt::format("deviation.{}", i), {outputs}));
    KVS_ASSIGN(const StateArray* parameters,
               find_array(state, fmt::format("parameters.{}", i), {model.shape.parameters()}));
    model.scale = {mean->values, deviation->values};
    model.parameters = parameters->values;
    return model;
  }

  Params params_;
  std::vector<train::SirenModel> fitted_;  // of the calibration rows
  uint64_t fitted_rows_ = 0;
};

}  // namespace

StageInfo siren_stage() {
  StageInfo info;
  info.name = "siren";
  info.group = "predict";
  info.summary = "Sine networks from position to vector, trained on and stored with every block.";
  info.params = describe<Params>();
  info.make = stage_maker<Siren, Params>("siren");
  info.traits = [](const KeyValues&) {
    StageInfo::Traits traits;
    traits.whole_block = true;
    return traits;
  };
  return info;
}

}  // namespace kvsplice::codec
