// Generated caches and codecs fitted on them, for tests that walk all stages.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include "codec/codec.h"
#include "codec/stage_case.h"
#include "core/random.h"

namespace kvsplice::codec {

struct HeadShape {
  int heads, key_dim, value_dim;
};

inline ModelShape make_shape(const std::vector<HeadShape>& layers) {
  ModelShape shape;
  shape.architecture = "llama";
  shape.model_name = "generated";
  shape.fingerprint = std::string(32, '0');
  shape.query_heads = 4;
  shape.embedding_dim = 16;
  shape.vocabulary = 100;
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

// Rows of heads of correlated, near-Gaussian values with unequal variances and a mean, as caches
// have them: a random mixture, the same for a seed, of independent values whose scale falls off.
inline Matrix<float> generate_rows(size_t rows, size_t heads, size_t dim, uint64_t model_seed,
                                   uint64_t row_seed) {
  Random model(model_seed), random(row_seed);
  Matrix<float> out(rows, heads * dim);
  for (size_t h = 0; h < heads; ++h) {
    Matrix<double> mixture(dim, dim);
    std::vector<double> mean(dim);
    for (size_t i = 0; i < dim; ++i) {
      mean[i] = 1.5 * model.normal();
      for (size_t j = 0; j < dim; ++j) {
        mixture(i, j) = model.normal() * std::pow(0.02, double(j) / double(dim)) / std::sqrt(dim);
      }
    }
    std::vector<double> z(dim);
    for (size_t r = 0; r < rows; ++r) {
      for (double& v : z) v = random.normal();
      for (size_t i = 0; i < dim; ++i) {
        double x = mean[i];
        for (size_t j = 0; j < dim; ++j) x += 2 * mixture(i, j) * z[j];
        out(r, h * dim + i) = static_cast<float>(x);
      }
    }
  }
  return out;
}

inline CacheBlock generate_block(const ModelShape& shape, size_t tokens, uint64_t seed) {
  CacheBlock block;
  Random random(seed);
  for (size_t t = 0; t < tokens; ++t) {
    block.tokens.push_back(static_cast<int32_t>(random.below(shape.vocabulary)));
    block.positions.push_back(static_cast<int32_t>(t + 7));
  }
  for (size_t l = 0; l < shape.layers.size(); ++l) {
    const LayerShape& layer = shape.layers[l];
    block.keys.push_back(
        generate_rows(tokens, layer.kv_heads, layer.key_dim, 2 * l, seed * 1000 + 2 * l));
    block.values.push_back(
        generate_rows(tokens, layer.kv_heads, layer.value_dim, 2 * l + 1, seed * 1000 + 2 * l + 1));
  }
  return block;
}

class BlockSource : public RowSource {
 public:
  BlockSource(const CacheBlock& block, const ModelShape& shape) : block_(block), shape_(shape) {}
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

  const CacheBlock& block_;
  const ModelShape& shape_;
};

inline Embeddings generate_embeddings() {
  return {16, [](std::span<const int32_t> tokens, MatrixView<float> out) -> Result<> {
            for (size_t t = 0; t < tokens.size(); ++t) {
              Random random(static_cast<uint64_t>(tokens[t]));
              for (float& x : out.row(t)) x = static_cast<float>(random.normal());
            }
            return {};
          }};
}

constexpr size_t kFitTokens = 768;

// Generated once per shape and test program.
inline const CacheBlock& calibration_block(const ModelShape& shape) {
  static std::vector<std::pair<ModelShape, std::unique_ptr<CacheBlock>>> made;
  for (const auto& [of, block] : made) {
    if (of == shape) return *block;
  }
  made.emplace_back(shape, std::make_unique<CacheBlock>(generate_block(shape, kFitTokens, 1)));
  return *made.back().second;
}

inline Result<Codec> fit_codec(const std::string& pipeline, const ModelShape& shape) {
  KVS_ASSIGN(const CodecText text, parse_codec(pipeline));
  KVS_ASSIGN(Codec codec, Codec::create(text, shape));
  const BlockSource source(calibration_block(shape), shape);
  const Embeddings embeddings = generate_embeddings();
  KVS_TRY(codec.fit(source, &embeddings, {}));
  return codec;
}

// Fitted once per pipeline and test program.
inline const Codec& usual_codec(const std::string& pipeline) {
  static std::map<std::string, std::unique_ptr<Codec>> made;
  std::unique_ptr<Codec>& codec = made[pipeline];
  if (!codec) {
    auto fitted = fit_codec(pipeline, usual_shape());
    if (!fitted.ok()) {
      ADD_FAILURE() << pipeline << ": " << fitted.error().message;
      std::abort();
    }
    codec = std::make_unique<Codec>(std::move(*fitted));
  }
  return *codec;
}

// Relative rms difference over all keys and values.
inline double relative_error(const CacheBlock& a, const CacheBlock& b) {
  double error = 0, energy = 0;
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < a.of(kind).size(); ++l) {
      EXPECT_EQ(a.of(kind)[l].size(), b.of(kind)[l].size());
      for (size_t i = 0; i < a.of(kind)[l].size(); ++i) {
        const double x = a.of(kind)[l].flat()[i], y = b.of(kind)[l].flat()[i];
        error += (x - y) * (x - y);
        energy += x * x;
      }
    }
  }
  return energy == 0 ? std::sqrt(error) : std::sqrt(error / energy);
}

inline size_t value_count(const CacheBlock& block) {
  size_t n = 0;
  for (Kind kind : {Kind::key, Kind::value}) {
    for (const auto& m : block.of(kind)) n += m.size();
  }
  return n;
}

// One variant of one stage's case, for parameterised tests.
struct Subject {
  const StageCase* stage_case;
  const StageVariant* variant;
};

inline std::vector<Subject> all_subjects() {
  std::vector<Subject> list;
  for (const StageCase& c : stage_cases()) {
    for (const StageVariant& v : c.variants) list.push_back({&c, &v});
  }
  return list;
}

// For gtest: the stage and the pipeline text, with runs of other characters as one underscore.
inline std::string subject_name(const testing::TestParamInfo<Subject>& info) {
  std::string name = info.param.stage_case->stage + "_";
  for (char c : info.param.variant->pipeline) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c));
    if (plain || name.back() != '_') name += plain ? c : '_';
  }
  return name;
}

inline void PrintTo(const Subject& subject, std::ostream* out) {
  *out << subject.variant->pipeline;
}

class EveryVariant : public testing::TestWithParam<Subject> {
 protected:
  const std::string& pipeline() const { return GetParam().variant->pipeline; }
  const Codec& codec() const { return usual_codec(pipeline()); }
  const Embeddings embeddings_ = generate_embeddings();

  Bytes encode(const CacheBlock& block) const {
    return codec().encode(block, &embeddings_).value();
  }
  Result<CacheBlock> decode(ByteSpan bytes, const CacheBlock& like) const {
    return codec().decode(bytes, like.tokens, like.positions, &embeddings_);
  }
};

}  // namespace kvsplice::codec
