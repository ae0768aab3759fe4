#include "bench/wide_cache.h"

#include <cmath>
#include <numeric>

#include "core/random.h"
#include "linalg/linalg.h"

namespace kvsplice::bench {

namespace {

constexpr size_t kHidden = 256;
constexpr size_t kVocabulary = 4096;
constexpr float kContext = 0.35f;  // how much of the hidden state a layer takes from tokens before
constexpr float kNews = 0.15f;     // and how much is new
constexpr float kOwn = 0.1f;       // of a row, what no other row tells

Matrix<float> normals(size_t rows, size_t cols, uint64_t seed, float scale = 1) {
  Random random(seed);
  Matrix<float> made(rows, cols);
  for (float& x : made.flat()) x = scale * static_cast<float>(random.normal());
  return made;
}

// [rows x cols] whose strength falls off from row to row, as directions of a cache do.
Matrix<float> falling(size_t rows, size_t cols, uint64_t seed) {
  Matrix<float> made = normals(rows, cols, seed, 1 / std::sqrt(float(rows)));
  for (size_t r = 0; r < rows; ++r) {
    const float strength = 2.5f * std::exp(-4 * float(r) / float(rows));
    for (float& x : made.row(r)) x *= strength;
  }
  return made;
}

Matrix<float> product(const Matrix<float>& a, const Matrix<float>& b) {
  Matrix<float> c(a.rows(), b.cols());
  gemm(Trans::no, Trans::no, 1.f, a, b, 0.f, c);
  return c;
}

// Half the tokens have been there before, a third of those lately; common words are commoner.
std::vector<int32_t> text(size_t tokens, uint64_t seed) {
  Random random(seed);
  std::vector<int32_t> made;
  for (size_t t = 0; t < tokens; ++t) {
    const double u = random.uniform();
    if (t > 0 && u < 0.5) {
      const size_t back = u < 0.16 ? std::min<size_t>(t, 64) : t;
      made.push_back(made[t - 1 - random.below(back)]);
    } else {
      made.push_back(static_cast<int32_t>(double(kVocabulary) * std::pow(random.uniform(), 3)));
    }
  }
  return made;
}

// Every row becomes a weighted mean of those up to it, the last ones counting most.
Matrix<float> seen_before(const Matrix<float>& hidden, float memory) {
  Matrix<float> made(hidden.rows(), hidden.cols());
  for (size_t t = 0; t < hidden.rows(); ++t) {
    for (size_t c = 0; c < hidden.cols(); ++c) {
      made(t, c) = (t > 0 ? memory * made(t - 1, c) : 0) + (1 - memory) * hidden(t, c);
    }
  }
  return made;
}

}  // namespace

ModelShape shape_of(const WideModel& model) {
  ModelShape shape;
  shape.architecture = "llama";
  shape.model_name = model.name;
  shape.fingerprint = std::string(32, '8');
  shape.query_heads = model.query_heads;
  shape.embedding_dim = model.embedding_dim;
  shape.vocabulary = kVocabulary;
  for (int l = 0; l < model.layers; ++l) {
    LayerShape layer;
    layer.layer = l;
    layer.kv_heads = model.kv_heads;
    layer.key_dim = layer.value_dim = model.head_dim;
    for (int i = 0; i < model.head_dim / 2; ++i) {
      layer.rope.frequency.push_back(std::pow(5e5f, -2.f * float(i) / float(model.head_dim)));
    }
    shape.layers.push_back(layer);
  }
  return shape;
}

WideCache::WideCache(const WideModel& model)
    : shape_(shape_of(model)), meanings_(normals(kVocabulary, kHidden, 1)) {
  const size_t dim = static_cast<size_t>(model.embedding_dim);
  embeddings_ =
      normals(kVocabulary, dim, 2, 0.5f);  // most of an embedding means nothing to a cache
  const Matrix<float> meant = product(meanings_, falling(kHidden, dim, 3));
  for (size_t i = 0; i < meant.size(); ++i) embeddings_.flat()[i] += meant.flat()[i];
}

codec::Embeddings WideCache::embeddings() const {
  return {static_cast<int>(embeddings_.cols()),
          [this](std::span<const int32_t> tokens, MatrixView<float> out) -> Result<> {
            for (size_t t = 0; t < tokens.size(); ++t) {
              const auto row = embeddings_.row(static_cast<size_t>(tokens[t]));
              std::copy(row.begin(), row.end(), out.row(t).begin());
            }
            return {};
          }};
}

KvBlock<float> WideCache::rows(size_t tokens, uint64_t text_seed) const {
  KvBlock<float> made;
  made.tokens = text(tokens, text_seed);
  made.positions.resize(tokens);
  std::iota(made.positions.begin(), made.positions.end(), 0);
  Matrix<float> hidden(tokens, kHidden);
  for (size_t t = 0; t < tokens; ++t) {
    const auto meaning = meanings_.row(static_cast<size_t>(made.tokens[t]));
    std::copy(meaning.begin(), meaning.end(), hidden.row(t).begin());
  }
  for (size_t l = 0; l < shape_.layers.size(); ++l) {
    for (Kind kind : {Kind::key, Kind::value}) {
      const size_t unit = 2 * l + (kind == Kind::value ? 1 : 0);
      const auto width = static_cast<size_t>(shape_.layers[l].width(kind));
      Matrix<float> rows = product(hidden, falling(kHidden, width, 100 + unit));
      const Matrix<float> own = normals(tokens, width, 1000 * text_seed + unit, kOwn);
      for (size_t i = 0; i < rows.size(); ++i) rows.flat()[i] += own.flat()[i];
      made.of(kind).push_back(std::move(rows));
    }
    const float turn = 1 / std::sqrt(float(kHidden));
    const Matrix<float> context =
        product(seen_before(hidden, 0.8f), normals(kHidden, kHidden, 5000 + l, 2 * turn));
    const Matrix<float> news = normals(tokens, kHidden, 9000 + 1000 * text_seed + l);
    for (size_t i = 0; i < hidden.size(); ++i) {
      hidden.flat()[i] =
          0.92f * hidden.flat()[i] + kContext * context.flat()[i] + kNews * news.flat()[i];
    }
  }
  return made;
}

Result<Matrix<float>> WideRows::read(Kind kind, int layer) const {
  return rows_.of(kind)[static_cast<size_t>(layer)];
}

Result<codec::Attention> WideRows::read_attention(int layer) const {
  const LayerShape& shape = shape_.layers[static_cast<size_t>(layer)];
  const Matrix<float>& keys = rows_.keys[static_cast<size_t>(layer)];
  const auto heads = static_cast<size_t>(shape.kv_heads);
  codec::Attention made{{}, Matrix<float>(keys.rows(), heads)};
  for (size_t r = 0; r < keys.rows(); ++r) {
    made.rows.push_back(r);
    for (size_t h = 0; h < heads; ++h) {
      made.received(r, h) = std::exp(keys(r, h * static_cast<size_t>(shape.key_dim)));
    }
  }
  return made;
}

Result<codec::Information> WideRows::read_information(Kind kind, int layer) const {
  const LayerShape& shape = shape_.layers[static_cast<size_t>(layer)];
  const auto dim = static_cast<size_t>(shape.heads_dim(kind));
  codec::Information made;
  for (int h = 0; h < shape.kv_heads; ++h) {
    Matrix<double>& head = made.heads.emplace_back(dim, dim);
    for (size_t i = 0; i < dim; ++i) head(i, i) = 0.01 * std::exp(-2 * double(i) / double(dim));
  }
  return made;
}

}  // namespace kvsplice::bench
