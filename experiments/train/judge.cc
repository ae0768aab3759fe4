#include "experiments/train/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "codec/codec.h"
#include "core/half.h"
#include "core/threads.h"
#include "fit/fit_codec.h"
#include "train/lm/trainer.h"

namespace kvsplice::experiment::train {

namespace {

using codec::Codec;

// Puts what is stored of a layer's rows in their place, and returns its bytes.
using Through = std::function<Result<double>(size_t layer, MatrixView<float> rows)>;

double through_f16(MatrixView<float> rows) {
  for (size_t r = 0; r < rows.rows; ++r) {
    for (float& x : rows.row(r)) x = from_half(to_finite_half(x));
  }
  return 2 * double(rows.rows * rows.cols);
}

// Attention to nothing: what is lost is what the cache was worth.
double through_nothing(MatrixView<float> rows) {
  for (size_t r = 0; r < rows.rows; ++r) std::fill(rows.row(r).begin(), rows.row(r).end(), 0.f);
  return 0;
}

// llama.cpp's blocks of 32: a scale in f16, and codes of 8 bits about 0, or of 4 bits whose -8 is
// the value of largest magnitude.
double through_blocks(MatrixView<float> rows, int bits) {
  constexpr size_t kBlock = 32;
  const auto code = [&](std::span<float> block) {
    const float most = *std::max_element(
        block.begin(), block.end(), [](float a, float b) { return std::abs(a) < std::abs(b); });
    const float scale = bits == 8 ? std::abs(most) / 127 : most / -8;
    const float inverse = scale != 0 ? 1 / scale : 0, stored = from_half(to_finite_half(scale));
    for (float& x : block) {
      const float c = bits == 8 ? std::round(x * inverse) : std::floor(x * inverse + 8.5f) - 8;
      x = stored * std::min(c, bits == 8 ? 127.f : 7.f);
    }
  };
  double bytes = 0;
  for (size_t r = 0; r < rows.rows; ++r) {
    const auto row = rows.row(r);
    for (size_t c = 0; c < row.size(); c += kBlock) {
      const auto block = row.subspan(c, std::min(kBlock, row.size() - c));
      code(block);
      bytes += 2 + double(block.size()) * bits / 8;
    }
  }
  return bytes;
}

// One layer's cache as a codec sees it: keys and values, or a latent that is all there is.
ModelShape shape_of(const lm::Model<float>& model) {
  ModelShape shape;
  shape.architecture = "llama";
  shape.fingerprint = std::string(32, '0');
  shape.query_heads = 1;
  LayerShape layer;
  layer.kv_heads = 1;
  const bool latent = model.form().latent > 0;
  layer.key_dim = int(latent ? model.cached_width() : model.cached_width() / 2);
  layer.value_dim = latent ? 0 : layer.key_dim;
  shape.layers = {layer};
  return shape;
}

MatrixView<const float> part(MatrixView<const float> rows, const LayerShape& shape, Kind kind) {
  const size_t keys = size_t(shape.width(Kind::key));
  return kind == Kind::key ? rows.col_range(0, keys) : rows.col_range(keys, rows.cols - keys);
}

class LayerRows : public codec::RowSource {
 public:
  LayerRows(const ModelShape& shape, MatrixView<const float> rows)
      : shape_(shape), rows_(rows), numbers_(rows.rows) {
    std::iota(numbers_.begin(), numbers_.end(), 0);
  }
  std::span<const int32_t> tokens() const override { return numbers_; }
  std::span<const int32_t> positions() const override { return numbers_; }
  Result<Matrix<float>> read(Kind kind, int) const override {
    return copy(part(rows_, shape_.layers[0], kind));
  }

 private:
  const ModelShape& shape_;
  MatrixView<const float> rows_;
  std::vector<int32_t> numbers_;
};

Result<double> through_codec(const Codec& codec, MatrixView<float> rows) {
  const LayerShape& shape = codec.shape().layers[0];
  KvBlock<float> block(codec.shape(), Space::raw, 0, rows.rows);
  for (const Kind kind : {Kind::key, Kind::value}) {
    if (shape.width(kind) > 0) block.of(kind)[0] = copy(part(rows, shape, kind));
  }
  KVS_ASSIGN(const Bytes bytes, codec.encode(block.view(), nullptr));
  KVS_ASSIGN(const auto back,
             codec.decode(bytes, block.tokens, block.positions, nullptr, Space::raw));
  for (const Kind kind : {Kind::key, Kind::value}) {
    if (shape.width(kind) == 0) continue;
    const auto& from = back.of(kind)[0];
    const size_t left = kind == Kind::key ? 0 : rows.cols - from.cols();
    for (size_t r = 0; r < rows.rows; ++r) {
      std::copy(from.row(r).begin(), from.row(r).end(), &rows(r, left));
    }
  }
  return double(bytes.size());
}

// In blocks as codecs have them.
Result<double> through_codecs(const Codec& codec, MatrixView<float> rows) {
  double bytes = 0;
  for (size_t first = 0; first < rows.rows; first += codec::kBlockTokens) {
    const size_t n = std::min(codec::kBlockTokens, rows.rows - first);
    KVS_ASSIGN(const double more, through_codec(codec, rows.row_range(first, n)));
    bytes += more;
  }
  return bytes;
}

struct Sum {
  double bytes = 0, nats = 0;
};

Result<Sum> measure(const lm::Model<float>& model, std::span<const float> parameters,
                    MatrixView<const lm::Token> sequences, const Through& through) {
  Sum sum;
  const auto look = [&](size_t layer, Matrix<float>& rows) -> Result<> {
    KVS_ASSIGN(const double bytes, through(layer, rows));
    sum.bytes += bytes;
    return {};
  };
  KVS_ASSIGN(const auto losses, model.losses(parameters, sequences, look));
  sum.nats = std::accumulate(losses.begin(), losses.end(), 0.);
  return sum;
}

}  // namespace

std::vector<Store> stores_of(const Options& options) {
  std::vector<Store> all = {{"f16"}, {"q8_0"}, {"q4_0"}, {"none"}};
  for (const double delta : options.steps_of_codecs()) {
    all.push_back({fmt::format("klt x{:g}", delta), delta});
  }
  return all;
}

Result<> Judge::gather() {
  if (!rows_.empty()) return {};
  const size_t length = model_.shape().length;
  const lm::Sequences sequences(ground_.training, length, 0);
  const size_t count = std::min(sequences.count(), size_t(ground_.options.calibration) / length);
  rows_.assign(model_.shape().layers, Matrix<float>(count * length, model_.cached_width()));
  const Matrix<lm::Token> tokens = sequences.batch(0, count);
  return parallel_try(count, [&](size_t i) -> Result<> {
    const auto look = [&](size_t layer, Matrix<float>& rows) {
      std::copy(rows.flat().begin(), rows.flat().end(), rows_[layer].row(i * length).begin());
      return Result<>();
    };
    KVS_TRY(model_.losses(parameters_, tokens.view().row_range(i, 1), look));
    return {};
  });
}

Result<Judged> Judge::judge(const JudgedText& text, const Store& store) {
  std::vector<Codec> codecs;
  const ModelShape shape = shape_of(model_);
  if (store.delta > 0) {
    KVS_TRY(gather());
    const std::string pipeline = fmt::format("klt | step(delta={}) | range", store.delta);
    KVS_ASSIGN(const auto parsed, codec::parse_codec(pipeline));
    for (const auto& rows : rows_) {
      const LayerRows source(shape, rows);
      KVS_ASSIGN(Codec codec, codec::fit_codec(parsed, shape, source, nullptr, {}));
      codecs.push_back(std::move(codec));
    }
  }
  const Through through = [&](size_t layer, MatrixView<float> rows) -> Result<double> {
    if (store.name == "f16") return through_f16(rows);
    if (store.name == "none") return through_nothing(rows);
    if (store.delta == 0) return through_blocks(rows, store.name == "q8_0" ? 8 : 4);
    return through_codecs(codecs[layer], rows);
  };
  const auto sequences = text.sequences();
  const size_t lane = lm::lane_of(model_.shape());
  std::vector<Sum> sums((sequences.rows + lane - 1) / lane);
  KVS_TRY(parallel_try(sums.size(), [&](size_t i) -> Result<> {
    const size_t n = std::min(lane, sequences.rows - i * lane);
    KVS_ASSIGN(sums[i], measure(model_, parameters_, sequences.row_range(i * lane, n), through));
    return {};
  }));
  Judged judged;
  for (const Sum& sum : sums) {
    judged.bytes_per_token += sum.bytes / double(sequences.rows * text.length);
    judged.nats_per_byte += sum.nats / double(text.bytes);
  }
  return judged;
}

}  // namespace kvsplice::experiment::train
