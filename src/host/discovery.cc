// The layers of a model, seen on a context of the smallest size.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/threads.h"
#include "host/log.h"
#include "host/model_impl.h"

namespace kvsplice::host {

namespace {

// Which layers see only a window is told by their masks. With tokens at the positions 0, window - 1
// and window, the mask of the next one hides the first where there is a window, and the second,
// too, where attention is in chunks. The sequences are two because llama.cpp lets only an empty one
// start anywhere.
Result<> place_tokens_apart(llama_context* context, Batch& batch, llama_token token, int window) {
  const auto place = [&](int sequence, size_t position) -> Result<> {
    batch.fill({&token, 1}, position, 0, sequence);
    if (llama_decode(context, batch.get()) == 0) return {};
    return Error{ErrorKind::unsupported, first_log_error("llama.cpp cannot evaluate the model")};
  };
  KVS_TRY(place(0, 0));
  KVS_TRY(place(1, size_t(window) - 1));
  KVS_TRY(place(1, size_t(window)));
  llama_memory_seq_cp(llama_get_memory(context), 0, 1, -1, -1);
  return {};
}

Result<LayerShape> shape_of(int number, const LayerGraph& layer, int window) {
  if (layer.query_heads == 0) {
    return Error{ErrorKind::unsupported,
                 fmt::format("layer {} does not use flash attention", number)};
  }
  if (layer.query_heads % layer.kv_heads != 0) {
    return Error{ErrorKind::unsupported,
                 fmt::format("layer {} has {} query heads for {} KV heads; a multiple is handled",
                             number, layer.query_heads, layer.kv_heads)};
  }
  return LayerShape{number,
                    layer.kv_heads,
                    layer.key_dim,
                    layer.value_dim,
                    layer.hidden_cells >= 1 ? window : 0,
                    layer.rope,
                    layer.hidden_cells >= 2};
}

// Layers without attention have 0 KV heads, by which llama.cpp still makes a cache for them.
Result<std::vector<int>> empty_layers(const Model::Impl& model, int window) {
  const std::string heads = model.shape.architecture + ".attention.head_count";
  std::vector<int32_t> counts = model.files.front().integers_or_none(heads + "_kv");
  if (counts.empty()) counts = model.files.front().integers_or_none(heads);
  counts.resize(std::min(counts.size(), size_t(llama_model_n_layer(model.model.get()))));
  std::vector<int> empty;
  for (size_t layer = 0; layer < counts.size(); ++layer) {
    if (counts[layer] == 0) empty.push_back(static_cast<int>(layer));
  }
  if (empty.empty() || window == 0) return empty;
  return Error{ErrorKind::unsupported,
               fmt::format("layer {} has no attention in a model of sliding windows", empty[0])};
}

Result<LlamaContext> make_context(const Model::Impl& model, const llama_context_params& params) {
  listen_to_log();
  LlamaContext context(llama_init_from_model(model.model.get(), params));
  if (context && llama_get_memory(context.get()) != nullptr) return context;
  return Error{ErrorKind::unsupported, first_log_error("keeps no key-value cache")};
}

}  // namespace

llama_context_params context_params(const ModelOptions& options, NodeHook& hook, int n_ctx,
                                    int n_ubatch) {
  llama_context_params params = llama_context_default_params();
  params.n_ctx = static_cast<uint32_t>(std::max(n_ctx, options.context));
  params.n_batch = params.n_ubatch = static_cast<uint32_t>(n_ubatch);
  params.n_threads = params.n_threads_batch = thread_count();
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
  params.op_offload = false;
  params.offload_kqv = options.on_devices();
  params.no_perf = true;
  // Sliding layers keep every token too: a cell of the cache is then a position, in every layer.
  params.swa_full = true;
  params.cb_eval = NodeHook::call;
  params.cb_eval_user_data = &hook;
  params.abort_callback = NodeHook::aborts;
  params.abort_callback_data = &hook;
  return params;
}

namespace {

// Which layers see only a window is told by masks.
Result<GraphSurvey> survey(Model::Impl& model, int window) {
  NodeHook hook;
  llama_context_params params = context_params(model.options, hook, 8, 8);
  if (window > 0) {  // where it is not needed, a second sequence turns sparse attention off
    params.n_seq_max = 2;
    params.kv_unified = true;
  }
  KVS_ASSIGN(const LlamaContext context, make_context(model, params));
  const llama_token token = 0;
  Batch batch(1);
  if (window > 0) KVS_TRY(place_tokens_apart(context.get(), batch, token, window));
  batch.fill({&token, 1}, window > 0 ? size_t(window) + 1 : 0, 1, window > 0 ? 1 : 0);
  return survey_graph(context.get(), hook, batch, model.options.on_devices());
}

// Recurrent layers take no gap between positions. Here layers with a window are those whose cache
// is smaller than the context, if llama.cpp may make it so.
Result<GraphSurvey> survey_hybrid(Model::Impl& model, int window) {
  NodeHook hook;
  constexpr int kPadding = 512;  // llama.cpp's caches are somewhat larger than what is needed
  const int cells = window > 0 ? 2 * window + kPadding : 8;
  llama_context_params params = context_params(model.options, hook, cells, 8);
  params.swa_full = window == 0;
  KVS_ASSIGN(const LlamaContext context, make_context(model, params));
  const llama_token token = 0;
  Batch batch(1);
  batch.fill({&token, 1}, 0, 1);
  KVS_ASSIGN(GraphSurvey graph,
             survey_graph(context.get(), hook, batch, model.options.on_devices()));
  for (auto& [number, layer] : graph.layers) layer.hidden_cells = layer.cells() < size_t(cells);
  return graph;
}

}  // namespace

Result<> discover_layers(Model::Impl& model) {
  const int window = llama_model_n_swa(model.model.get());
  const bool hybrid = llama_model_is_hybrid(model.model.get());
  KVS_ASSIGN(const GraphSurvey graph,
             hybrid ? survey_hybrid(model, window) : survey(model, window));
  if (graph.layers.empty()) return Error{ErrorKind::unsupported, "keeps no key-value cache"};
  std::vector<int> queries;
  for (const auto& [number, layer] : graph.layers) {
    KVS_ASSIGN(LayerShape shape, shape_of(number, layer, window));
    queries.push_back(layer.query_heads);
    model.shape.layers.push_back(std::move(shape));
    model.scoring.push_back(layer.scoring);
    const float gain = layer.scale * std::sqrt(float(layer.key_dim));
    // Within rounding of 1, queries are left as they are.
    model.hooks.push_back({layer.before_rope, std::abs(gain - 1) < 1e-6f ? 1 : gain});
  }
  model.shape.query_heads = *std::max_element(queries.begin(), queries.end());
  if (std::count(queries.begin(), queries.end(), queries[0]) != std::ssize(queries)) {
    model.shape.query_heads_by_layer = queries;
  }
  for (const auto& [number, layer] : graph.recurrent) model.shape.recurrent.push_back(layer);
  if (hybrid) return {};  // its other layers have no place in states
  KVS_ASSIGN(model.shape.empty_layers, empty_layers(model, window));
  return {};
}

}  // namespace kvsplice::host
