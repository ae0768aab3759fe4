#include "host/gradient.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "core/random.h"
#include "core/threads.h"
#include "host/batch.h"
#include "host/cache_rows.h"
#include "host/log.h"
#include "host/model_impl.h"
#include "host/node_hook.h"
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

Result<> check(const Model& model, std::span<const Token> tokens) {
  if (!tokens.empty() && tokens.size() <= size_t(model.context_limit())) return {};
  return Error{ErrorKind::usage, fmt::format("a sequence of {} tokens; the model allows 1 ... {}",
                                             tokens.size(), model.context_limit())};
}

Result<> check_next(const Model& model, size_t asked, std::span<const Token> next) {
  if (!next.empty() && next.size() != asked) {
    return Error{ErrorKind::usage, fmt::format("{} tokens behind {}", next.size(), asked)};
  }
  for (Token token : next) {
    if (token >= 0 && token < model.shape().vocabulary) continue;
    return Error{ErrorKind::usage,
                 fmt::format("token {} is not in 0 ... {}", token, model.shape().vocabulary - 1)};
  }
  return {};
}

// Of the layer with this number in the model; error unsupported if rows of its cache have another
// width.
Result<int> index_of_layer(const Model& model, Kind kind, int number, size_t width) {
  const auto& layers = model.shape().layers;
  const auto layer = std::find_if(layers.begin(), layers.end(),
                                  [&](const LayerShape& l) { return l.layer == number; });
  if (layer != layers.end() && width == size_t(layer->width(kind))) {
    return static_cast<int>(layer - layers.begin());
  }
  return Error{ErrorKind::unsupported,
               fmt::format("layer {} stores rows of {} values", number, width)};
}

// One sequence in a context, with what the walk back needs: its graph lives in the context.
class Sequence {
 public:
  Sequence(const Model& model, std::span<const Token> tokens)
      : model_(model), tokens_(tokens), tape_(model.impl().files) {}

  Result<> begin(int threads) {
    const auto n = static_cast<int>(tokens_.size());
    llama_context_params params = context_params(model_.options(), hook_, n, n);
    if (threads > 0) params.n_threads = params.n_threads_batch = threads;
    listen_to_log();
    context_.reset(llama_init_from_model(model_.impl().model.get(), params));
    if (context_) return {};
    return Error{ErrorKind::unsupported, first_log_error("no context")};
  }

  // The next `count` tokens. `record`: for a walk back from them. Without, no logits are computed
  // unless they are wanted.
  Result<> evaluate(size_t count, bool logits, bool record) {
    hook_.on_node = [&](ggml_tensor* node, bool ask) {
      if (ask) find_cache(node);
      if (ask && record) tape_.record(node);
      return record || !ask;  // asks for every node, so each waits for us
    };
    Batch batch(count);
    batch.fill(tokens_.subspan(done_, count), done_, logits ? count : 0);
    const int status = llama_decode(context_.get(), batch.get());
    hook_.on_node = {};
    done_ += count;
    if (status == 0) return {};
    return Error{ErrorKind::numeric,
                 fmt::format("llama.cpp cannot evaluate {} tokens: {}", count,
                             first_log_error(fmt::format("status {}", status)))};
  }

  // Of all tokens so far.
  Result<> change_rows(const ChangeRows& change) {
    std::vector<int32_t> positions(done_);
    std::iota(positions.begin(), positions.end(), 0);
    const auto& layers = model_.shape().layers;
    for (size_t l = 0; l < layers.size(); ++l) {
      for (Kind kind : {Kind::key, Kind::value}) {
        if (layers[l].width(kind) == 0) continue;
        KVS_ASSIGN(const CacheTensor cache, cache_of(kind, layers[l]));
        Matrix<float> rows(done_, size_t(layers[l].width(kind)));
        cache.get(0, rows);
        const bool turned = kind == Kind::key && layers[l].rope.rotates();
        if (turned) layers[l].rope.undo(rows, layers[l].key_dim, positions);
        KVS_TRY(change(kind, static_cast<int>(l), rows));
        if (turned) layers[l].rope.apply(rows, layers[l].key_dim, positions);
        KVS_TRY(cache.set(0, rows));
      }
    }
    return {};
  }

  // In place: with many tokens and a large vocabulary they are the largest thing here.
  std::span<float> logits(size_t tokens) const {
    return {llama_get_logits(context_.get()), tokens * size_t(model_.shape().vocabulary)};
  }
  Tape& tape() { return tape_; }

 private:
  void find_cache(ggml_tensor* node) {
    if (node->op != GGML_OP_SET_ROWS) return;
    if (const auto layer = key_cache_layer(node)) {
      caches_[{Kind::key, *layer}] = {root_of(node)};
    } else if (const auto of_values = value_cache_layer(node)) {
      caches_[{Kind::value, *of_values}] = {root_of(node)};
    }
  }

  Result<CacheTensor> cache_of(Kind kind, const LayerShape& layer) const {
    const auto found = caches_.find({kind, layer.layer});
    if (found == caches_.end() || found->second.tensor->ne[0] != layer.width(kind) ||
        found->second.tensor->ne[1] < int64_t(tokens_.size())) {
      return Error{ErrorKind::unsupported,
                   fmt::format("layer {} does not hold {} cells", layer.layer, tokens_.size())};
    }
    return found->second;
  }

  const Model& model_;
  std::span<const Token> tokens_;
  size_t done_ = 0;
  Tape tape_;
  NodeHook hook_;
  LlamaContext context_;
  std::map<std::pair<Kind, int>, CacheTensor> caches_;  // by the layer's number in the model
};

}  // namespace

Result<> loss_gradients(const Model& model, std::span<const Token> tokens, const LossOptions& o) {
  KVS_TRY(check(model, tokens));
  if (o.prompt >= tokens.size()) {
    return Error{ErrorKind::usage,
                 fmt::format("a prompt of {} in {} tokens", o.prompt, tokens.size())};
  }
  if (o.prompt > 0 && model.shape().hybrid()) {
    return Error{ErrorKind::unsupported,
                 "of models with recurrent layers, gradients behind a prompt are not known"};
  }
  Sequence sequence(model, tokens);
  KVS_TRY(sequence.begin(o.threads));
  if (o.prompt > 0) KVS_TRY(sequence.evaluate(o.prompt, false, false));
  if (o.change) KVS_TRY(sequence.change_rows(o.change));
  const size_t n = tokens.size() - o.prompt;
  KVS_TRY(sequence.evaluate(n, true, bool(o.take)));
  const std::span<float> gradient = sequence.logits(n);
  const auto vocabulary = static_cast<size_t>(model.shape().vocabulary);
  parallel_for(n,
               [&](size_t i) { o.differentiate(i, gradient.subspan(i * vocabulary, vocabulary)); });
  if (!o.take) return {};
  const auto stored = [&](Kind kind, int number, MatrixView<const float> g) -> Result<> {
    KVS_ASSIGN(const int index, index_of_layer(model, kind, number, g.cols));
    if (kind == Kind::value) return o.take(kind, index, g);
    Matrix<float> rows = copy(g);
    const LayerShape& layer = model.shape().layers[size_t(index)];
    rotate_back(layer.rope, layer.key_dim, rows);
    return o.take(kind, index, rows);
  };
  return sequence.tape().walk_back(gradient, stored, o.prompt);
}

Result<> predicted_gradients(const Model& model, std::span<const Token> tokens,
                             const GradientOptions& options, const TakeGradient& take) {
  const size_t asked = tokens.size() - std::min(options.prompt, tokens.size());
  KVS_TRY(check_next(model, asked, options.next));
  Random random(options.seed);
  std::vector<double> uniform(asked);
  for (double& u : uniform) u = random.uniform();
  const auto score = [&](size_t i, std::span<float> logits) {
    differentiate(logits, options.next.empty() ? nullptr : &options.next[i], uniform[i]);
  };
  return loss_gradients(model, tokens,
                        {options.prompt, options.change, score, take, options.threads});
}

Result<size_t> gradient_bytes_per_token(const Model& model) {
  const std::vector<Token> few(size_t(std::min(8, model.context_limit())), 0);
  Sequence sequence(model, few);
  KVS_TRY(sequence.begin(0));
  KVS_TRY(sequence.evaluate(few.size(), true, true));
  // llama.cpp has the logits of all tokens twice: where they are computed, and for its caller.
  const size_t logits = 2 * sizeof(float) * size_t(model.shape().vocabulary);
  return sequence.tape().bytes() / few.size() + logits;
}

}  // namespace kvsplice::host
