// The layers of a model, seen on a context of the smallest size.
#include <fmt/format.h>

#include <cmath>

#include "core/threads.h"
#include "host/log.h"
#include "host/model_impl.h"

namespace kvsplice::host {

namespace {

// Which layers slide is told by their masks: with one token at position 0 and one just outside the
// window, the mask of the next token hides the first where the layer slides. The sequences are two
// because llama.cpp lets only an empty one start anywhere.
Result<> place_tokens_apart(llama_context* context, Batch& batch, llama_token token, int window) {
  for (int sequence = 0; sequence < 2; ++sequence) {
    batch.fill({&token, 1}, sequence == 0 ? 0 : size_t(window), 0, sequence);
    if (llama_decode(context, batch.get()) != 0) {
      return Error{ErrorKind::unsupported, first_log_error("llama.cpp cannot evaluate the model")};
    }
  }
  llama_memory_seq_cp(llama_get_memory(context), 0, 1, -1, -1);
  return {};
}

Result<LayerShape> shape_of(int number, const LayerGraph& layer, int window, int query_heads) {
  if (layer.query_heads == 0) {
    return Error{ErrorKind::unsupported,
                 fmt::format("layer {} does not use flash attention", number)};
  }
  if (layer.query_heads != query_heads || query_heads % layer.kv_heads != 0) {
    return Error{ErrorKind::unsupported,
                 fmt::format("layer {} has {} query heads for {} KV heads, the first layer has {}; "
                             "layers must have the same number, a multiple of the KV heads",
                             number, layer.query_heads, layer.kv_heads, query_heads)};
  }
  return LayerShape{number,
                    layer.kv_heads,
                    layer.key_dim,
                    layer.value_dim,
                    layer.hides_first_cell ? window : 0,
                    layer.rope};
}

}  // namespace

llama_context_params context_params(NodeHook& hook, int n_ctx, int n_ubatch) {
  llama_context_params params = llama_context_default_params();
  params.n_ctx = static_cast<uint32_t>(n_ctx);
  params.n_batch = params.n_ubatch = static_cast<uint32_t>(n_ubatch);
  params.n_threads = params.n_threads_batch = thread_count();
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
  params.op_offload = false;
  params.offload_kqv = false;
  params.no_perf = true;
  // Sliding layers keep every token too: a cell of the cache is then a position, in every layer.
  params.swa_full = true;
  params.cb_eval = NodeHook::call;
  params.cb_eval_user_data = &hook;
  params.abort_callback = NodeHook::aborts;
  params.abort_callback_data = &hook;
  return params;
}

Result<> discover_layers(Model::Impl& model) {
  NodeHook hook;
  llama_context_params params = context_params(hook, 8, 8);
  params.n_seq_max = 2;
  params.kv_unified = true;
  listen_to_log();
  const LlamaContext context(llama_init_from_model(model.model.get(), params));
  if (!context || llama_get_memory(context.get()) == nullptr) {
    return Error{ErrorKind::unsupported, first_log_error("keeps no key-value cache")};
  }
  const llama_token token = 0;
  const int window = llama_model_n_swa(model.model.get());
  Batch batch(1);
  if (window > 0) KVS_TRY(place_tokens_apart(context.get(), batch, token, window));
  batch.fill({&token, 1}, window > 0 ? size_t(window) + 1 : 0, 1, 1);
  KVS_ASSIGN(auto layers, survey_graph(context.get(), hook, batch));
  if (layers.empty()) return Error{ErrorKind::unsupported, "keeps no key-value cache"};
  model.shape.query_heads = layers.begin()->second.query_heads;
  for (const auto& [number, layer] : layers) {
    KVS_ASSIGN(LayerShape shape, shape_of(number, layer, window, model.shape.query_heads));
    model.shape.layers.push_back(std::move(shape));
    const float gain = layer.scale * std::sqrt(float(layer.key_dim));
    // Within rounding of 1, queries are left as they are.
    model.hooks.push_back({layer.before_rope, std::abs(gain - 1) < 1e-6f ? 1 : gain});
  }
  return {};
}

}  // namespace kvsplice::host
