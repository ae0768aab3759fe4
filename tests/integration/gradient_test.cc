// What gradients stand on, on a real model with quantised weights.
#include "host/gradient.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/file.h"
#include "host/gguf_source.h"
#include "host/model.h"
#include "host/weights.h"

namespace kvsplice::host {
namespace {

class RealGradient : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto text = read_text(std::string(KVSPLICE_SOURCE_DIR) + "/samples/news.txt").value();
    tokens = model.tokenize(text).value();
    tokens.resize(96);
  }
  Model model = Model::load(KVSPLICE_TEST_MODEL).value();
  std::vector<Token> tokens;
};

// In two parts, as those of a vocabulary are read in parts.
Matrix<float> weights_named(const std::vector<GgufSource>& files, const std::string& name) {
  const Weights weights = Weights::find(files, name).value();
  Matrix<float> all(weights.rows(), weights.cols());
  const size_t half = all.rows() / 2;
  EXPECT_TRUE(weights.read(0, all.view().row_range(0, half)).ok());
  EXPECT_TRUE(weights.read(half, all.view().row_range(half, all.rows() - half)).ok());
  return all;
}

// The first layer's keys, by hand from the weights, are those llama.cpp computes from them.
TEST_F(RealGradient, WeightsAreThoseOfTheGraph) {
  std::vector<GgufSource> files;
  files.push_back(GgufSource::open(KVSPLICE_TEST_MODEL).value());
  const auto weights = weights_named(files, "blk.0.attn_k.weight");
  const auto gain = weights_named(files, "blk.0.attn_norm.weight");
  Matrix<float> x(tokens.size(), size_t(model.shape().embedding_dim));
  ASSERT_TRUE(model.normalised_embeddings(tokens, x).ok());
  Matrix<float> keys;
  ContextOptions options;
  options.signals = {Signal::key_before_rope};
  options.capture = [&](const Capture& c) -> Result<> {
    if (c.layer == 0) keys = copy(c.rows);
    return {};
  };
  auto context = Context::create(model, options).value();
  ASSERT_TRUE(context.decode(tokens).ok());
  ASSERT_EQ(keys.cols(), weights.rows());
  double error = 0, size = 0;
  for (size_t t = 0; t < tokens.size(); ++t) {
    for (size_t k = 0; k < weights.rows(); ++k) {
      double y = 0;
      for (size_t i = 0; i < weights.cols(); ++i) y += weights(k, i) * x(t, i) * gain.flat()[i];
      error += (y - keys(t, k)) * (y - keys(t, k));
      size += y * y;
    }
  }
  EXPECT_LT(std::sqrt(error / size), 0.02);  // llama.cpp rounds activations to 8 bits
  EXPECT_GT(std::sqrt(error / size), 1e-5);
  EXPECT_FALSE(Weights::find(files, "blk.0.nothing").ok());
}

TEST_F(RealGradient, ComesOncePerLayerAndIsFinite) {
  std::vector<int> seen(2 * model.shape().layers.size());
  const auto take = [&](Kind kind, int layer, MatrixView<const float> g) -> Result<> {
    ++seen[size_t(layer) * 2 + (kind == Kind::value)];
    double square = 0;
    for (size_t t = 0; t < g.rows; ++t) {
      for (float v : g.row(t)) square += double(v) * v;
    }
    EXPECT_EQ(g.rows, tokens.size());
    EXPECT_TRUE(std::isfinite(square) && square > 0);
    return {};
  };
  ASSERT_TRUE(predicted_gradients(model, tokens, {}, take).ok());
  for (int n : seen) EXPECT_EQ(n, 1);
}

}  // namespace
}  // namespace kvsplice::host
