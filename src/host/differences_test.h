// What a model predicts behind cells that are moved by hand while llama.cpp evaluates: what
// gradients have to agree with.
#pragma once

#include <cmath>
#include <map>

#include "core/half.h"
#include "core/random.h"
#include "host/batch.h"
#include "host/gradient.h"
#include "host/model_impl.h"
#include "host/tensor_values.h"
#include "host/tiny_model_test.h"

namespace kvsplice::host {

using Gradients = std::map<std::pair<Kind, int>, Matrix<float>>;

inline Result<Gradients> gradients_of(const Model& model, std::span<const Token> tokens,
                                      GradientOptions options) {
  Gradients all;
  options.threads = 1;
  KVS_TRY(predicted_gradients(model, tokens, options,
                              [&](Kind kind, int layer, MatrixView<const float> g) {
                                EXPECT_TRUE(all.emplace(std::pair(kind, layer), copy(g)).second);
                                return Result<>();
                              }));
  return all;
}

struct Agreement {
  double cosine, size;  // of gradients and differences; gradients' over differences'
  int changed;          // choices of experts, which have no derivative
};

class Differences {
 public:
  // Of the logarithms of the probabilities of `next`, one behind each of `tokens`.
  Differences(const Model& model, std::span<const Token> tokens, std::span<const Token> next)
      : model_(model), tokens_(tokens), next_(next) {}

  // In `count` cells, or fewer where half as many more changed a choice of experts.
  Agreement agreement(const Gradients& gradients, int count) const {
    std::vector<int32_t> positions(tokens_.size());
    for (size_t t = 0; t < positions.size(); ++t) positions[t] = int32_t(t);
    Random random(3);
    double square = 0, product = 0, expected_square = 0;
    int changed = 0;
    for (int i = 0; i < count + std::min(changed, count / 2); ++i) {
      const auto& layers = model_.shape().layers;
      const int layer = int(random.below(layers.size()));
      const LayerShape& l = layers[size_t(layer)];
      const bool key = i % 2 == 0 || model_.shape().lacks_values();
      const Kind kind = key ? Kind::key : Kind::value;
      const Cell cell{kind, layer, random.below(tokens_.size() / 2),
                      random.below(size_t(l.width(kind)))};
      const auto known = gradients.find({kind, layer});  // none of what only chooses
      Matrix<float> g = known != gradients.end()
                            ? copy(known->second.view())
                            : Matrix<float>(tokens_.size(), size_t(l.width(kind)));
      if (kind == Kind::key) {  // of the stored keys: the transpose of what undid it
        Rope rope = l.rope;
        rope.magnitude = 1 / rope.magnitude;
        rope.apply(g, l.key_dim, positions);
      }
      const Moved up = evaluate(cell, 0.3f), down = evaluate(cell, -0.3f);
      if (up.experts != down.experts) {
        ++changed;
        continue;
      }
      const double difference = (up.sum - down.sum) / (up.by - down.by);
      const double gradient = g(cell.token, cell.col);
      square += gradient * gradient;
      product += gradient * difference;
      expected_square += difference * difference;
    }
    return {product / std::sqrt(square * expected_square), std::sqrt(square / expected_square),
            changed};
  }

 private:
  struct Cell {
    Kind kind;
    int layer;
    size_t token, col;
  };
  struct Moved {
    double by = 0, sum = 0;
    std::vector<int64_t> experts;  // that tokens choose
  };

  // With the cell moved by about `by`.
  Moved evaluate(const Cell& cell, float by) const {
    const LayerShape& l = model_.shape().layers[size_t(cell.layer)];
    Moved moved;
    NodeHook hook;
    const int n = int(tokens_.size());
    auto params = context_params({}, hook, n, n);
    params.n_threads = params.n_threads_batch = 1;
    const LlamaContext context(llama_init_from_model(model_.impl().model.get(), params));
    hook.on_node = [&](ggml_tensor* node, bool ask) {
      if (node->op == GGML_OP_MUL_MAT_ID) {
        const auto chosen = ask ? std::vector<int64_t>() : testing::must(rows_of(node->src[2]));
        moved.experts.insert(moved.experts.end(), chosen.begin(), chosen.end());
        return true;
      }
      const auto layer = cell.kind == Kind::key ? key_cache_layer(node) : value_cache_layer(node);
      const bool stored = node->op == GGML_OP_SET_ROWS && layer == l.layer;
      if (ask || !stored) return stored || !ask;
      const size_t at = (cell.token * size_t(l.width(cell.kind)) + cell.col) * sizeof(uint16_t);
      uint16_t half = 0;
      ggml_backend_tensor_get(root_of(node), &half, at, sizeof half);
      const float before = from_half(half);
      half = to_half(before + by);
      ggml_backend_tensor_set(root_of(node), &half, at, sizeof half);
      moved.by = double(from_half(half)) - before;
      return true;
    };
    Batch batch(tokens_.size());
    batch.fill(tokens_, 0, tokens_.size());
    EXPECT_EQ(llama_decode(context.get(), batch.get()), 0);
    const auto vocabulary = size_t(model_.shape().vocabulary);
    const float* logits = llama_get_logits(context.get());
    for (size_t t = 0; t < tokens_.size(); ++t, logits += vocabulary) {
      double all = 0;
      for (size_t i = 0; i < vocabulary; ++i) all += std::exp(double(logits[i]));
      moved.sum += logits[next_[t]] - std::log(all);
    }
    return moved;
  }

  const Model& model_;
  std::span<const Token> tokens_, next_;
};

}  // namespace kvsplice::host
