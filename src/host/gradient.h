// Gradients of what a model predicts with respect to the keys and values it stores. They come from
// llama.cpp's own graph, whatever the model: its nodes are recorded while they are computed, and
// walked backwards.
#pragma once

#include <functional>
#include <span>

#include "host/model.h"

namespace kvsplice::host {

// One layer's, of all tokens: [tokens x width]. Keys before rotation.
using TakeGradient = std::function<Result<>(Kind kind, int layer, MatrixView<const float> rows)>;

// The rows that a layer has stored, [tokens x width], which may be changed: as the cache holds
// them, but keys before rotation.
using ChangeRows = std::function<Result<>(Kind kind, int layer, MatrixView<float> rows)>;

struct GradientOptions {
  uint64_t seed = 0;                 // of the tokens drawn
  std::span<const Token> next = {};  // the tokens behind each, instead of drawn ones
  // So many tokens are evaluated first. Then `change`, if there is one, gets their rows, keys of a
  // layer before its values and lower layers first, and what follows attends to what it leaves.
  // Tokens are drawn behind what follows, and gradients are of the prompt's rows alone.
  size_t prompt = 0;
  ChangeRows change = {};
  int threads = 0;  // of llama.cpp; 0 = all of core/threads.h
};

struct LossOptions {
  size_t prompt = 0;  // as above
  ChangeRows change = {};
  // Makes of the logits of a token behind the prompt, counted from there, the gradient of a loss.
  // Called from several threads.
  std::function<void(size_t token, std::span<float> logits)> differentiate;
  // Each layer's once, the last layer's first: of the prompt's rows, or without a prompt of all.
  // Empty: there is no way back.
  TakeGradient take = {};
  int threads = 0;
};

// Gradients of a loss with respect to stored rows of one sequence. Errors: unsupported if a
// gradient arrives at an operation whose derivative is not known here, and which; or if a layer's
// cache holds fewer cells than there are tokens.
Result<> loss_gradients(const Model& model, std::span<const Token> tokens,
                        const LossOptions& options);

// Evaluates `tokens` as one sequence, draws a token behind each from the model's own prediction,
// and hands over the gradients of the sum of their log-probabilities, each layer's once, the last
// layer's first. Since the tokens are drawn from the prediction, products of gradients have the
// Fisher information as their mean. Which experts tokens choose is taken as a constant. Errors:
// unsupported if a gradient arrives at an operation whose derivative is not known here, and which.
Result<> predicted_gradients(const Model& model, std::span<const Token> tokens,
                             const GradientOptions& options, const TakeGradient& take);

// Memory that predicted_gradients takes for each token of a sequence, in bytes, measured on a few
// tokens. It does not tell whether all derivatives are known.
Result<size_t> gradient_bytes_per_token(const Model& model);

}  // namespace kvsplice::host
