// Finds out what a model's graph does with its cache, without evaluating it: a one-token decode is
// aborted as soon as every node has been shown.
#pragma once

#include <ggml.h>

#include <map>
#include <string>

#include "core/shape.h"
#include "host/batch.h"
#include "host/node_hook.h"
#include "host/state_format.h"

namespace kvsplice::host {

// Names are not unique in a graph; with the op they may be.
struct NodeName {
  std::string name;
  ggml_op op = GGML_OP_NONE;
  bool operator==(const NodeName&) const = default;
  auto operator<=>(const NodeName&) const = default;
};

// A layer that owns a cache.
struct LayerGraph {
  size_t cells() const { return key == nullptr ? 0 : size_t(key->ne[1]); }  // of its cache

  ggml_tensor* key = nullptr;    // the caches themselves
  ggml_tensor* value = nullptr;  // none if attention takes values from the keys
  Turns turns;
  Rope rope;
  NodeName before_rope;  // where keys can be had before rotation; no name: nowhere

  // Known from the flash attention node, so only with flash attention.
  int query_heads = 0, kv_heads = 0, key_dim = 0, value_dim = 0;
  bool values_in_keys = false;
  float scale = 0;  // of the products of keys and queries
  Scoring scoring;
  int hidden_cells = 0;  // how many of the first two cells the surveyed token's mask hides
};

struct GraphSurvey {
  std::map<int, LayerGraph> layers;         // by layer of the model
  std::map<int, RecurrentLayer> recurrent;  // those of hybrids, likewise
};

// `hook` is the one the context was created with. On several devices a
// graph is met in parts, each when those before it have been computed: the token is then evaluated,
// which is only seen otherwise.
Result<GraphSurvey> survey_graph(llama_context* context, NodeHook& hook, const Batch& one_token,
                                 bool several_devices);

}  // namespace kvsplice::host
