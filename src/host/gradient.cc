#include "host/gradient.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/random.h"
#include "core/threads.h"
#include "host/batch.h"
#include "host/log.h"
#include "host/model_impl.h"
#include "host/rope_table.h"
#include "host/tape.h"

namespace kvsplice::host {

namespace {

// Turns logits into the gradient of the logarithm of a token's probability: its indicator less all
// probabilities. The token is drawn from them unless one is given.
void differentiate(std::span<float> logits, const Token* given, double uniform) {
  const float top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float& x : logits) sum += x = std::exp(x - top);
  size_t chosen = given ? static_cast<size_t>(*given) : 0;
  if (given == nullptr) {
    double left = uniform * sum;
    while (chosen + 1 < logits.size() && (left -= logits[chosen]) >= 0) ++chosen;
  }
  for (float& x : logits) x = static_cast<float>(-x / sum);
  logits[chosen] += 1;
}

Result<> check(const Model& model, std::span<const Token> tokens, std::span<const Token> next) {
  if (tokens.empty() || tokens.size() > size_t(model.context_limit())) {
    return Error{ErrorKind::usage, fmt::format("a sequence of {} tokens; the model allows 1 ... {}",
                                               tokens.size(), model.context_limit())};
  }
  if (!next.empty() && next.size() != tokens.size()) {
    return Error{ErrorKind::usage, fmt::format("{} tokens behind {}", next.size(), tokens.size())};
  }
  for (Token token : next) {
    if (token >= 0 && token < model.shape().vocabulary) continue;
    return Error{ErrorKind::usage,
                 fmt::format("token {} is not in 0 ... {}", token, model.shape().vocabulary - 1)};
  }
  return {};
}

// A sequence evaluated, with what the walk back needs: the graph lives in the context.
struct Evaluated {
  explicit Evaluated(const Model& model) : tape(model.impl().files) {}

  Result<> evaluate(const Model& model, std::span<const Token> tokens, int threads) {
    const auto n = static_cast<int>(tokens.size());
    llama_context_params params = context_params(model.options(), hook, n, n);
    if (threads > 0) params.n_threads = params.n_threads_batch = threads;
    listen_to_log();
    context.reset(llama_init_from_model(model.impl().model.get(), params));
    if (!context) return Error{ErrorKind::unsupported, first_log_error("no context")};
    hook.on_node = [&](ggml_tensor* node, bool ask) {  // asks for every node, so each waits for us
      if (ask) tape.record(node);
      return true;
    };
    Batch batch(tokens.size());
    batch.fill(tokens, 0, tokens.size());
    const int status = llama_decode(context.get(), batch.get());
    if (status == 0) return {};
    return Error{ErrorKind::numeric,
                 fmt::format("llama.cpp cannot evaluate {} tokens: {}", n,
                             first_log_error(fmt::format("status {}", status)))};
  }

  Tape tape;
  NodeHook hook;
  LlamaContext context;
};

}  // namespace

Result<> predicted_gradients(const Model& model, std::span<const Token> tokens,
                             const GradientOptions& options, const TakeGradient& take) {
  KVS_TRY(check(model, tokens, options.next));
  Evaluated evaluated(model);
  KVS_TRY(evaluated.evaluate(model, tokens, options.threads));
  const auto vocabulary = static_cast<size_t>(model.shape().vocabulary);
  // In place: with many tokens and a large vocabulary they are the largest thing here.
  const std::span gradient(llama_get_logits(evaluated.context.get()), tokens.size() * vocabulary);
  Random random(options.seed);
  std::vector<double> uniform(tokens.size());
  for (double& u : uniform) u = random.uniform();
  parallel_for(tokens.size(), [&](size_t i) {
    differentiate(gradient.subspan(i * vocabulary, vocabulary),
                  options.next.empty() ? nullptr : &options.next[i], uniform[i]);
  });
  const auto& layers = model.shape().layers;
  return evaluated.tape.walk_back(gradient, [&](Kind kind, int number, MatrixView<const float> g) {
    const auto layer = std::find_if(layers.begin(), layers.end(),
                                    [&](const LayerShape& l) { return l.layer == number; });
    if (layer == layers.end() || g.cols != size_t(layer->width(kind))) {
      return Result<>(Error{ErrorKind::unsupported,
                            fmt::format("layer {} stores rows of {} values", number, g.cols)});
    }
    const int index = static_cast<int>(layer - layers.begin());
    if (kind == Kind::value) return take(kind, index, g);
    Matrix<float> rows = copy(g);
    rotate_back(layer->rope, layer->key_dim, rows);
    return take(kind, index, rows);
  });
}

Result<size_t> gradient_bytes_per_token(const Model& model) {
  const std::vector<Token> few(size_t(std::min(8, model.context_limit())), 0);
  Evaluated evaluated(model);
  KVS_TRY(evaluated.evaluate(model, few, 0));
  // llama.cpp has the logits of all tokens twice: where they are computed, and for its caller.
  const size_t logits = 2 * sizeof(float) * size_t(model.shape().vocabulary);
  return evaluated.tape.bytes() / few.size() + logits;
}

}  // namespace kvsplice::host
