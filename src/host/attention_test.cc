// What dumps say of attention, against what the model's own attention computes.
#include <gmock/gmock.h>

#include <cmath>

#include "extract/dump.h"
#include "fit/dump_source.h"
#include "host/model_impl.h"
#include "host/tiny_model_test.h"

namespace kvsplice::host {
namespace {

using kvsplice::testing::family;
using kvsplice::testing::family_name;
using kvsplice::testing::letters;
using kvsplice::testing::must;
using kvsplice::testing::TempDir;
using kvsplice::testing::TinyModel;

constexpr size_t kTokens = 60;

// The output of each layer's flash attention: [tokens x query heads * value_dim].
std::map<int, Matrix<float>> attention_outputs(const Model& model, std::span<const Token> tokens) {
  std::map<int, Matrix<float>> outputs;
  NodeHook hook;
  const LlamaContext context(llama_init_from_model(
      model.impl().model.get(), context_params({}, hook, int(kTokens), int(kTokens))));
  hook.on_node = [&](ggml_tensor* node, bool ask) {
    if (node->op != GGML_OP_FLASH_ATTN_EXT) return !ask;
    if (ask) return true;
    Matrix<float> rows(size_t(node->ne[2]), size_t(node->ne[0] * node->ne[1]));
    ggml_backend_tensor_get(node, rows.data(), 0, ggml_nbytes(node));
    outputs[*key_cache_layer(node->src[1])] = std::move(rows);
    return true;
  };
  Batch batch(tokens.size());
  batch.fill(tokens, 0, tokens.size());
  EXPECT_EQ(llama_decode(context.get(), batch.get()), 0);
  return outputs;
}

class AttentionOf : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto of_model = family(GetParam());
    if (of_model.absorbed) of_model.heads = 12;  // of which a dump has six
    TinyModel(of_model).save(dir.file("m.gguf"));
    model.emplace(must(Model::load(dir.file("m.gguf"))));
    extract::ExtractOptions options;
    must(extract::extract(*model, {{"text", "", tokens}}, options, dir.file("dump.gguf"), {}));
  }

  // By what the dump says, or as if attention were a plain softmax.
  double error(const Matrix<float>& output, int layer, bool plain) {
    const extract::Dump dump = must(extract::Dump::open(dir.file("dump.gguf")));
    analyse::AttentionShape shape = codec::attention_shape(dump.info(), layer);
    if (plain) shape.scoring = {};
    std::vector<size_t> at(kTokens);
    for (size_t i = 0; i < kTokens; ++i) at[i] = i;
    const Matrix<float> keys = must(dump.read(Signal::key, layer));
    Matrix<float> values = must(dump.read(Signal::value, layer));
    if (values.cols() == 0) {  // they are the first columns of the keys
      shape.value_dim = output.cols() / size_t(dump.info().shape.query_heads_of(layer));
      values = copy(keys.view().col_range(0, shape.value_dim));
    }
    const auto made =
        analyse::attend(must(dump.read_queries(layer, 0, kTokens)), at, keys, values, shape);
    return apart(made, of_heads(output, dump.info().readers_of(layer), shape.value_dim));
  }

  static Matrix<float> of_heads(const Matrix<float>& all, const std::vector<int>& heads,
                                size_t dim) {
    Matrix<float> some(all.rows(), heads.size() * dim);
    for (size_t r = 0; r < all.rows(); ++r) {
      for (size_t h = 0; h < heads.size(); ++h) {
        std::copy_n(&all(r, size_t(heads[h]) * dim), dim, &some(r, h * dim));
      }
    }
    return some;
  }

  static double apart(const Matrix<float>& made, const Matrix<float>& output) {
    EXPECT_EQ(made.cols(), output.cols());
    double error = 0, power = 0;
    for (size_t i = 0; i < made.size(); ++i) {
      error += std::pow(double(made.flat()[i]) - output.flat()[i], 2);
      power += std::pow(double(output.flat()[i]), 2);
    }
    return std::sqrt(error / power);
  }

  const TempDir dir;
  const std::vector<Token> tokens = letters(kTokens);
  std::optional<Model> model;
};

TEST_P(AttentionOf, IsTheNodesOwn) {
  const auto outputs = attention_outputs(*model, tokens);
  const bool special = std::string(GetParam()) == "gpt-oss" || std::string(GetParam()) == "gemma2";
  ASSERT_EQ(outputs.size(), model->shape().layers.size());
  for (size_t l = 0; l < model->shape().layers.size(); ++l) {
    const Matrix<float>& output = outputs.at(model->shape().layers[l].layer);
    EXPECT_LT(error(output, int(l), false), 2e-3) << l;
    EXPECT_EQ(error(output, int(l), true) > 0.05, special) << l;
  }
}

INSTANTIATE_TEST_SUITE_P(All, AttentionOf,
                         ::testing::Values("llama", "gemma2", "gemma3", "gpt-oss", "llama4",
                                           "deci+queries", "glm4+sections", "deepseek2"),
                         [](const auto& of) { return family_name(of.param); });

}  // namespace
}  // namespace kvsplice::host
