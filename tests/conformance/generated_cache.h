// Generated caches and codecs fitted on them, for tests that walk all stages.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>

#include "core/random.h"
#include "fit/fit_codec.h"

namespace kvsplice::codec {

struct HeadShape {
  int heads, key_dim, value_dim;
};

inline ModelShape make_shape(const std::vector<HeadShape>& layers) {
  ModelShape shape;
  shape.architecture = "llama";
  shape.model_name = "generated";
  shape.fingerprint = std::string(32, '0');
  shape.query_heads = 12;
  shape.embedding_dim = 16;
  shape.vocabulary = 1000;
  for (const HeadShape& h : layers) {
    LayerShape layer;
    layer.layer = static_cast<int>(shape.layers.size());
    layer.kv_heads = h.heads;
    layer.key_dim = h.key_dim;
    layer.value_dim = h.value_dim;
    layer.rope.pairs = Rope::Pairs::halves;
    for (int i = 0; i < h.key_dim / 2; ++i) {
      layer.rope.frequency.push_back(std::pow(10000.f, -2.f * float(i) / float(h.key_dim)));
    }
    shape.layers.push_back(layer);
  }
  return shape;
}

inline ModelShape usual_shape() { return make_shape({{2, 32, 32}, {2, 32, 32}, {2, 32, 32}}); }
inline ModelShape odd_shape() { return make_shape({{3, 20, 20}, {1, 5, 5}, {3, 20, 12}}); }

constexpr size_t kEmbeddingDim = 16;

inline std::vector<float> embedding_of(int32_t token) {
  Random random(static_cast<uint64_t>(token));
  std::vector<float> row(kEmbeddingDim);
  for (float& x : row) x = static_cast<float>(random.normal());
  return row;
}

// Causes: independent normal numbers, one for each value of a row.
using Causes = Matrix<double>;

inline Causes fresh_causes(size_t rows, size_t columns, Random& random) {
  Causes made(rows, columns);
  for (double& v : made.flat()) v = random.normal();
  return made;
}

// The same for all tokens of a kind. What their embeddings say ...
inline Causes embedding_causes(std::span<const int32_t> tokens, size_t columns,
                               uint64_t model_seed) {
  Random model(model_seed + 1000);
  Matrix<double> weights(columns, kEmbeddingDim);
  for (double& w : weights.flat()) w = model.normal() / std::sqrt(double(kEmbeddingDim));
  Causes made(tokens.size(), columns);
  for (size_t t = 0; t < tokens.size(); ++t) {
    const std::vector<float> row = embedding_of(tokens[t]);
    for (size_t c = 0; c < columns; ++c) {
      for (size_t e = 0; e < row.size(); ++e) made(t, c) += weights(c, e) * row[e];
    }
  }
  return made;
}

// ... and what only an earlier row of the token tells.
inline Causes token_causes(std::span<const int32_t> tokens, size_t columns, uint64_t model_seed) {
  Causes made(tokens.size(), columns);
  for (size_t t = 0; t < tokens.size(); ++t) {
    Random random(1000 * (model_seed + 1) + static_cast<uint64_t>(tokens[t]));
    for (size_t c = 0; c < columns; ++c) made(t, c) = random.normal();
  }
  return made;
}

// Adds causes that explain a part of the variance to those that explain the rest.
inline void explain(Causes& causes, const Causes& by, double part) {
  for (size_t r = 0; r < causes.rows(); ++r) {
    for (size_t c = 0; c < causes.cols(); ++c) {
      causes(r, c) = std::sqrt(1 - part) * causes(r, c) + std::sqrt(part) * by(r, c % by.cols());
    }
  }
}

constexpr double kOutlier = 6;  // where one column of each head lies

// Rows of heads of correlated, near-Gaussian values with unequal variances and a mean, as caches
// have them: a random mixture of causes whose scale falls off, the same for a seed.
inline Matrix<float> rows_of_causes(const Causes& causes, size_t heads, uint64_t model_seed) {
  Random model(model_seed);
  const size_t dim = causes.cols() / heads;
  Matrix<float> out(causes.rows(), causes.cols());
  for (size_t h = 0; h < heads; ++h) {
    Matrix<double> mixture(dim, dim);
    std::vector<double> mean(dim);
    for (size_t i = 0; i < dim; ++i) {
      mean[i] = 1.5 * model.normal() + (i == dim / 3 ? kOutlier : 0);
      for (size_t j = 0; j < dim; ++j) {
        mixture(i, j) = model.normal() * std::pow(0.02, double(j) / double(dim)) / std::sqrt(dim);
      }
    }
    for (size_t r = 0; r < causes.rows(); ++r) {
      for (size_t i = 0; i < dim; ++i) {
        double x = mean[i];
        for (size_t j = 0; j < dim; ++j) x += 2 * mixture(i, j) * causes(r, h * dim + j);
        out(r, h * dim + i) = static_cast<float>(x);
      }
    }
  }
  return out;
}

inline Matrix<float> generate_rows(size_t rows, size_t heads, size_t dim, uint64_t model_seed,
                                   uint64_t row_seed) {
  Random random(row_seed);
  return rows_of_causes(fresh_causes(rows, heads * dim, random), heads, model_seed);
}

// Tokens repeat, as those of a text do, and rows of the same token are alike; keys and values
// follow those of the layer below, and values the keys of their layer, so that there is something
// to predict and to recall.
inline KvBlock<float> generate_block(const ModelShape& shape, size_t tokens, uint64_t seed) {
  KvBlock<float> block;
  Random random(seed);
  for (size_t t = 0; t < tokens; ++t) {
    const bool again = t > 0 && random.below(3) > 0;
    block.tokens.push_back(again ? block.tokens[random.below(t)]
                                 : static_cast<int32_t>(random.below(shape.vocabulary)));
    block.positions.push_back(static_cast<int32_t>(t + 7));
  }
  Causes below;
  for (size_t l = 0; l < shape.layers.size(); ++l) {
    const LayerShape& layer = shape.layers[l];
    for (Kind kind : {Kind::key, Kind::value}) {
      const size_t unit = 2 * l + (kind == Kind::key ? 0 : 1);
      const auto width = static_cast<size_t>(layer.width(kind));
      Random rows(seed * 1000 + unit);
      Causes causes = fresh_causes(tokens, width, rows);
      // The lowest layer sees little but the token.
      explain(causes, token_causes(block.tokens, width, unit), l == 0 ? 0.9 : 0.6);
      explain(causes, embedding_causes(block.tokens, width, unit), 0.3);
      if (!below.empty()) explain(causes, below, 0.3);
      block.of(kind).push_back(rows_of_causes(causes, layer.kv_heads, unit));
      below = std::move(causes);
    }
  }
  return block;
}

class BlockSource : public RowSource {
 public:
  BlockSource(const KvBlock<float>& block, const ModelShape& shape)
      : block_(block), shape_(shape) {}
  std::span<const int32_t> tokens() const override { return block_.tokens; }
  std::span<const int32_t> positions() const override { return block_.positions; }
  Result<Matrix<float>> read(Kind kind, int layer) const override { return block_.of(kind)[layer]; }
  // The first column of a head's keys tells how much attention it gets.
  Result<Attention> read_attention(int layer) const override {
    const Matrix<float>& keys = block_.keys[layer];
    const size_t dim = keys.cols() / kv_heads(layer);
    Attention all{{}, Matrix<float>(keys.rows(), kv_heads(layer))};
    for (size_t r = 0; r < keys.rows(); ++r) {
      all.rows.push_back(r);
      for (size_t h = 0; h < all.received.cols(); ++h) all.received(r, h) = keys(r, h * dim);
    }
    return all;
  }
  // Some columns of a head matter more than others, and mixtures of neighbours.
  Result<Information> read_information(Kind kind, int layer) const override {
    if (layer < 0) return Error{ErrorKind::usage, "layers are joined"};
    const auto dim = size_t(shape_.layers[layer].heads_dim(kind));
    Information all;
    for (size_t h = 0; h < kv_heads(layer); ++h) {
      Matrix<double>& f = all.heads.emplace_back(dim, dim);
      for (size_t i = 0; i < dim; ++i) {
        f(i, i) = 0.01 * double(1 + (i + h) % 4);
        if (i > 0) f(i, i - 1) = f(i - 1, i) = 0.004;
      }
    }
    return all;
  }

 private:
  size_t kv_heads(int layer) const { return shape_.layers[layer].kv_heads; }

  const KvBlock<float>& block_;
  const ModelShape& shape_;
};

inline Embeddings generate_embeddings() {
  return {int{kEmbeddingDim},
          [](std::span<const int32_t> tokens, MatrixView<float> out) -> Result<> {
            for (size_t t = 0; t < tokens.size(); ++t) {
              const std::vector<float> row = embedding_of(tokens[t]);
              std::copy(row.begin(), row.end(), out.row(t).begin());
            }
            return {};
          }};
}

constexpr size_t kFitTokens = 768;

// Generated once per shape and test program.
inline const KvBlock<float>& calibration_block(const ModelShape& shape) {
  static std::vector<std::pair<ModelShape, std::unique_ptr<KvBlock<float>>>> made;
  for (const auto& [of, block] : made) {
    if (of == shape) return *block;
  }
  made.emplace_back(shape, std::make_unique<KvBlock<float>>(generate_block(shape, kFitTokens, 1)));
  return *made.back().second;
}

inline Result<Codec> fit_codec(const CodecText& text, const ModelShape& shape) {
  const BlockSource source(calibration_block(shape), shape);
  const Embeddings embeddings = generate_embeddings();
  return fit_codec(text, shape, source, &embeddings, {});
}

inline Result<Codec> fit_codec(const std::string& pipeline, const ModelShape& shape) {
  KVS_ASSIGN(const CodecText text, parse_codec(pipeline));
  return fit_codec(text, shape);
}

inline size_t value_count(const KvBlock<float>& block) {
  size_t n = 0;
  for (Kind kind : {Kind::key, Kind::value}) {
    for (const auto& m : block.of(kind)) n += m.size();
  }
  return n;
}

}  // namespace kvsplice::codec
