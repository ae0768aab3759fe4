#include "host/node_hook.h"

#include <charconv>
#include <string_view>

namespace kvsplice::host {

namespace {

std::optional<int> layer_in_name(std::string_view name, std::string_view before) {
  if (!name.starts_with(before)) return {};
  name.remove_prefix(before.size());
  int layer = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  if (error != std::errc() || end != name.data() + name.size() || layer < 0) return {};
  return layer;
}

}  // namespace

ggml_tensor* root_of(ggml_tensor* node) {
  while (true) {
    if (node->view_src != nullptr) {
      node = node->view_src;
    } else if (node->op == GGML_OP_CPY) {  // an f32 cache is cast for flash attention
      node = node->src[0];
    } else {
      return node;
    }
  }
}

std::optional<int> key_cache_layer(ggml_tensor* node) {
  return layer_in_name(root_of(node)->name, "cache_k_l");
}

std::optional<int> value_cache_layer(ggml_tensor* node) {
  return layer_in_name(root_of(node)->name, "cache_v_l");
}

std::optional<RecurrentRow> recurrent_row(ggml_tensor* node) {
  struct Name {
    const char* before;
    bool of_convolution;
  };
  // The last ones are what graphs of Plamo 2 and Kimi-Linear call them.
  constexpr Name kNames[] = {{"cache_r_l", true},
                             {"cache_s_l", false},
                             {"mamba_conv1d_state-", true},
                             {"mamba_ssm_states-", false},
                             {"conv_states_all-", true}};
  ggml_tensor* root = root_of(node);
  for (const Name& name : kNames) {
    if (const auto layer = layer_in_name(root->name, name.before)) {
      return RecurrentRow{*layer, name.of_convolution, size_t(root->ne[0])};
    }
  }
  return {};
}

std::optional<int> indexer_cache_layer(ggml_tensor* node) {
  return layer_in_name(root_of(node)->name, "cache_idx_k_l");
}

bool keeps_history(ggml_tensor* node) {
  return layer_in_name(root_of(node)->name, "cache_ple_r_l").has_value();
}

bool is_key_query_product(const ggml_tensor* node) {
  return node->op == GGML_OP_MUL_MAT && layer_in_name(node->name, "kq-").has_value();
}

}  // namespace kvsplice::host
