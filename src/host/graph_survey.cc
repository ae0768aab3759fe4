#include "host/graph_survey.h"

#include <fmt/format.h>

#include <cmath>

#include "host/log.h"
#include "host/rope_table.h"
#include "host/tensor_values.h"

namespace kvsplice::host {

namespace {

class Survey {
 public:
  bool on_node(ggml_tensor* node, bool ask) {
    if (!ask) return true;
    ++seen_[{node->name, node->op}];
    if (node->op == GGML_OP_SET_ROWS) {
      see_store(node);
    } else if (node->op == GGML_OP_FLASH_ATTN_EXT) {
      see_attention(node);
    }
    if (const auto row = recurrent_row(node)) see_recurrent(*row);
    if (keeps_history(node) && trouble_.ok()) {
      trouble_ =
          Error{ErrorKind::unsupported, "a layer keeps a history of tokens beside its state"};
    }
    return false;
  }

  bool in_trouble() const { return !trouble_.ok(); }

  Result<GraphSurvey> finish() {
    KVS_TRY(trouble_);
    for (auto& [number, layer] : found_.layers) {
      const bool seen = layer.query_heads > 0;  // only then it is known where values are
      if (layer.key == nullptr || (seen && !layer.value && !layer.values_in_keys)) {
        return Error{ErrorKind::unsupported, fmt::format("layer {} has no cache of its own for {}",
                                                         number, layer.key ? "values" : "keys")};
      }
      if (seen_[layer.before_rope] != 1) layer.before_rope = {};
    }
    return std::move(found_);
  }

 private:
  void see_store(ggml_tensor* node) {
    if (const auto number = key_cache_layer(node)) {
      LayerGraph& layer = found_.layers[*number];
      set_cache(*number, root_of(node), layer.key);
      layer.turns.keys = side_of_turn(node->src[0]);
      if (Result<> traced = trace_rope(node->src[0], layer); !traced.ok() && trouble_.ok()) {
        trouble_ = Error{traced.error().kind,
                         fmt::format("layer {}: {}", *number, traced.error().message)};
      }
    } else if (const auto value_layer = value_cache_layer(node)) {
      set_cache(*value_layer, root_of(node), found_.layers[*value_layer].value);
      found_.layers[*value_layer].turns.values = side_of_turn(node->src[0]);
    } else if (const auto indexed = indexer_cache_layer(node)) {
      refuse_two_caches(*indexed);
    }
  }

  // A second cache, of an indexer, may have the name of the first.
  void set_cache(int layer, ggml_tensor* met, ggml_tensor*& cache) {
    if (cache != nullptr && cache != met) refuse_two_caches(layer);
    cache = met;
  }

  void refuse_two_caches(int layer) {
    if (!trouble_.ok()) return;
    trouble_ = Error{ErrorKind::unsupported,
                     fmt::format("layer {} keeps two caches, for sparse attention", layer)};
  }

  void see_recurrent(const RecurrentRow& row) {
    RecurrentLayer& layer = found_.recurrent[row.layer];
    layer.layer = row.layer;
    (row.of_convolution ? layer.r : layer.s) = row.values;
  }

  // What is stored may have been multiplied by a Hadamard matrix. Unlike weights, it is an input.
  static uint32_t side_of_turn(const ggml_tensor* stored) {
    const ggml_tensor* node = stored;
    while (node->op == GGML_OP_VIEW || node->op == GGML_OP_RESHAPE || node->op == GGML_OP_CONT ||
           node->op == GGML_OP_PERMUTE || node->op == GGML_OP_TRANSPOSE) {
      node = node->src[0];
    }
    const bool turned =
        node->op == GGML_OP_MUL_MAT && (node->src[0]->flags & GGML_TENSOR_FLAG_INPUT) != 0;
    return turned ? static_cast<uint32_t>(node->src[0]->ne[0]) : 0;
  }

  // Keys may be put together, head by head, from a part that is rotated and one that is not.
  static Result<> trace_joint(const ggml_tensor* node, LayerGraph& layer) {
    LayerGraph front, back;
    KVS_TRY(trace_rope(node->src[0], front));
    KVS_TRY(trace_rope(node->src[1], back));
    if (int_param(node, 0) != 0 || (front.rope.rotates() && back.rope.rotates())) {
      return Error{ErrorKind::unsupported, "keys are put together from several rotated parts"};
    }
    if (back.rope.rotates()) back.rope.first += static_cast<int>(node->src[0]->ne[0]);
    layer.rope = back.rope.rotates() ? back.rope : front.rope;
    return {};
  }

  // Walks from the stored keys back to their rotation. Behind a norm or a scaling, and of joint
  // parts, the keys before rotation are those that rotate into the stored ones, which no node
  // holds.
  static Result<> trace_rope(const ggml_tensor* stored, LayerGraph& layer) {
    bool exact = true;
    for (const ggml_tensor* node = stored; node != nullptr; node = node->src[0]) {
      switch (node->op) {
        case GGML_OP_ROPE: {
          KVS_ASSIGN(layer.rope, rope_of(node));
          if (exact) layer.before_rope = {node->src[0]->name, node->src[0]->op};
          return {};
        }
        case GGML_OP_VIEW:
        case GGML_OP_RESHAPE:
        case GGML_OP_PERMUTE:
        case GGML_OP_TRANSPOSE:
        case GGML_OP_CONT:
          break;
        case GGML_OP_NORM:
        case GGML_OP_RMS_NORM:
        case GGML_OP_L2_NORM:
        case GGML_OP_MUL:
        case GGML_OP_ADD:
        case GGML_OP_SCALE:
        case GGML_OP_REPEAT:
          exact = false;
          break;
        case GGML_OP_CONCAT:
          return trace_joint(node, layer);
        default:
          return {};
      }
    }
    return {};
  }

  // The first attention after a layer's store is its own; later ones are of layers that share it.
  void see_attention(ggml_tensor* node) {
    ggml_tensor *query = node->src[0], *key = node->src[1], *value = node->src[2];
    const auto number = key_cache_layer(key);
    if (!number || found_.layers[*number].query_heads != 0) return;
    LayerGraph& layer = found_.layers[*number];
    layer.query_heads = static_cast<int>(query->ne[2]);
    layer.kv_heads = static_cast<int>(key->ne[2]);
    layer.key_dim = static_cast<int>(key->ne[0]);
    layer.values_in_keys = root_of(value) == root_of(key);
    layer.value_dim = layer.values_in_keys ? 0 : static_cast<int>(value->ne[0]);
    layer.scale = float_param(node, 0);
    layer.scoring.soft_cap = float_param(node, 2);
    if (const ggml_tensor* sinks = node->src[4]; sinks != nullptr) {
      layer.scoring.sinks.resize(count(sinks));
      ggml_backend_tensor_get(sinks, layer.scoring.sinks.data(), 0, ggml_nbytes(sinks));
    }
    if (const ggml_tensor* mask = node->src[3]; mask != nullptr && mask->type == GGML_TYPE_F16) {
      ggml_fp16_t cells[2] = {};
      ggml_backend_tensor_get(mask, cells, 0, sizeof cells);
      for (const ggml_fp16_t cell : cells)
        layer.hidden_cells += std::isinf(ggml_fp16_to_fp32(cell));
    }
  }

  GraphSurvey found_;
  std::map<NodeName, int> seen_;
  Result<> trouble_;
};

}  // namespace

Result<GraphSurvey> survey_graph(llama_context* context, NodeHook& hook, const Batch& one_token,
                                 bool several_devices) {
  Survey survey;
  hook.on_node = [&](ggml_tensor* node, bool ask) {
    const bool wanted = survey.on_node(node, ask);
    hook.abort |= survey.in_trouble();  // what is not handled may not even be fit to be computed
    return wanted;
  };
  hook.abort = !several_devices;
  listen_to_log();
  const int status = llama_decode(context, one_token.get());
  hook = {};
  if (survey.in_trouble()) return survey.finish();
  if (status != 2 && status != 0) {  // 2: aborted; 0: by a back-end that does not abort
    return Error{ErrorKind::unsupported,
                 fmt::format("llama.cpp cannot evaluate the model: {}",
                             first_log_error(fmt::format("status {}", status)))};
  }
  return survey.finish();
}

}  // namespace kvsplice::host
