// What llama.cpp lets us see of a graph while it runs. For every node it asks whether we want it
// (ask = true); a wanted node is shown again once it and all nodes before it have been computed.
// Answering false then stops the graph silently, so that is kept for errors.
#pragma once

#include <ggml-backend.h>

#include <functional>
#include <optional>

namespace kvsplice::host {

struct NodeHook {
  std::function<bool(ggml_tensor* node, bool ask)> on_node;
  bool abort = false;  // stop computing as soon as possible, with an error

  // A ggml_backend_sched_eval_callback; `self` is a NodeHook.
  static bool call(ggml_tensor* node, bool ask, void* self) {
    const auto& hook = *static_cast<NodeHook*>(self);
    return hook.on_node ? hook.on_node(node, ask) : !ask;
  }
  // A ggml_abort_callback.
  static bool aborts(void* self) { return static_cast<const NodeHook*>(self)->abort; }
};

// The tensor a view, or a conversion of one, looks at in the end.
ggml_tensor* root_of(ggml_tensor* node);

// Layer i of "cache_k_l<i>" and "cache_v_l<i>", by the name of the node's root.
std::optional<int> key_cache_layer(ggml_tensor* node);
std::optional<int> value_cache_layer(ggml_tensor* node);

// Of a recurrent layer, by the names "cache_r_l<i>" and "cache_s_l<i>" of the node's root.
struct RecurrentRow {
  int layer;
  bool of_convolution;  // r; else s
  size_t values;
};
std::optional<RecurrentRow> recurrent_row(ggml_tensor* node);

// Of an indexer that chooses keys for sparse attention.
std::optional<int> indexer_cache_layer(ggml_tensor* node);

// Something that is kept of earlier tokens beside a recurrent state (PLE, as in Qwen 4).
bool keeps_history(ggml_tensor* node);

// The node of an attention without flash attention that multiplies keys and queries.
bool is_key_query_product(const ggml_tensor* node);

}  // namespace kvsplice::host
