// Generated models for tests: a few layers of random f32 weights and a vocabulary of bytes and
// letters.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/random.h"
#include "core/threads.h"
#include "host/gguf_emitter_test.h"
#include "host/temp_dir_test.h"

namespace kvsplice::testing {

struct TinyOptions {
  std::string architecture =
      "llama";  // gpt2, gptneox, mpt, qwen2, qwen3, gemma3, hunyuan-dense, deci, llama4, ...
  std::string name = "tiny";
  int layers = 3, heads = 4, kv_heads = 2, head_dim = 32;
  std::vector<int32_t> kv_heads_by_layer;  // deci; 0: a layer without attention
  std::vector<int32_t> heads_by_layer;     // deci
  std::vector<int32_t> sections;           // of M-RoPE: qwen2vl, qwen3vl, glm4, glm4moe
  int context = 512;
  int window = 8;  // gemma3, where every third layer attends to everything; gpt-oss, every second
  float rope_base = 10000;
  bool yarn = false, long_rope = false, frequency_factors = false;
  bool temperature = false;  // of attention, which grows with the position (mistral3)
  bool split = false;        // into two files
  std::string pre;           // how texts are split: a vocabulary of bytes and a few merges (gpt2)
  bool slides = false;       // lfm2 with a window in all layers that attend
  bool experts = false;      // of deepseek2
  bool adds_end = false;     // the vocabulary ends texts with an end token
  uint64_t seed = 1;

  // Multi-head latent attention: minicpm3 and old deepseek2 keep what its heads are made of, new
  // deepseek2 the latent rows alone.
  bool latent = false, absorbed = false;
  int latent_rank = 64, query_rank = 24, turned = 16, plain = 24;  // of heads: plain, then turned

  int key_dim() const {
    return absorbed ? latent_rank + turned : latent ? plain + turned : head_dim;
  }
  int value_dim() const { return absorbed ? 0 : head_dim; }
  bool hybrid() const {
    for (const char* known :
         {"qwen3next", "qwen35", "granitehybrid", "lfm2", "nemotron_h", "jamba", "falcon-h1"}) {
      if (architecture == known) return true;
    }
    return false;
  }

  uint64_t embedding() const { return uint64_t(heads) * uint64_t(head_dim); }
  int heads_of(int layer) const {
    return heads_by_layer.empty() ? heads : heads_by_layer[size_t(layer)];
  }
  int kv_heads_of(int layer) const {
    return kv_heads_by_layer.empty() ? kv_heads : kv_heads_by_layer[size_t(layer)];
  }
};

class TinyModel {
 public:
  explicit TinyModel(const TinyOptions& o) : options(o), random_(o.seed) {
    set_thread_count(1);  // models this small lose by more
    if (options.architecture == "mamba") {
      add_mamba();
    } else if (options.hybrid()) {
      add_hybrid();
    } else {
      add_decoder();
    }
  }

  void save(const std::string& path) const { put_file(path, file.bytes()); }
  // The two files of a split model; returns the path of the first.
  std::string save_split(const TempDir& dir) const {
    put_file(dir.file("m-00001-of-00002.gguf"), file.bytes());
    put_file(dir.file("m-00002-of-00002.gguf"), second_file.bytes());
    return dir.file("m-00001-of-00002.gguf");
  }
  const std::vector<float>& weight(const std::string& name) const { return weights_.at(name); }

  TinyOptions options;
  GgufEmitter file, second_file;

 private:
  bool is(const std::string& architecture) const { return options.architecture == architecture; }
  std::string key(const std::string& name) const { return options.architecture + "." + name; }

  GgufEmitter& file_for(const std::string& tensor) {
    return options.split && tensor.starts_with("blk.1.") ? second_file : file;
  }

  // Rows of `in` values, scaled to keep the size of what passes through.
  void add_matrix(const std::string& name, uint64_t in, uint64_t out, double scale = 0) {
    if (scale == 0) scale = 1 / std::sqrt(double(in));
    std::vector<float> values(in * out);
    for (float& v : values) v = float(scale * random_.normal());
    file_for(name).add_tensor(name, {in, out}, values);
    weights_[name] = std::move(values);
  }
  void add_vector(const std::string& name, uint64_t n, double mean, double scale = 0.1) {
    add_around(name, {n}, mean, scale);
  }
  void add_around(const std::string& name, const std::vector<uint64_t>& dims, double mean,
                  double scale = 0.1) {
    uint64_t n = 1;
    for (const uint64_t d : dims) n *= d;
    std::vector<float> values(n);
    for (float& v : values) v = float(mean + scale * random_.normal());
    file_for(name).add_tensor(name, dims, values);
    weights_[name] = std::move(values);
  }
  void add_linear(const std::string& name, uint64_t in, uint64_t out, bool bias) {
    add_matrix(name + ".weight", in, out);
    if (bias) add_vector(name + ".bias", out, 0);
  }
  void add_norm(const std::string& name, uint64_t n, bool bias) {
    add_vector(name + ".weight", n, 1);
    if (bias) add_vector(name + ".bias", n, 0);
  }

  // Bytes as gpt2 writes them, and what some of them are merged to.
  void add_merging_vocabulary() {
    const std::vector<std::string> merges = {
        "t h",        "th e", "\u0120 t", "\u0120t h", "i n",       "in g",         "\u0120 in",
        "\u0120th e", "1 9",  "A A",      "AA AA",     "AAAA AAAA", "\u010a \u010a"};
    std::vector<std::string> tokens = {"<|none|>", "<|begin|>", "<|end|>"};
    std::vector<int32_t> types = {3, 3, 3};
    int others = 0;
    for (int byte = 0; byte < 256; ++byte) {
      const bool plain = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
      const int code = plain ? byte : 256 + others++;
      tokens.push_back(code < 128 ? std::string(1, char(code))
                                  : std::string{char(0xc0 | code >> 6), char(0x80 | (code & 63))});
    }
    for (std::string merge : merges) {
      merge.erase(merge.find(' '), 1);
      tokens.push_back(merge);
    }
    types.resize(tokens.size(), 1);
    file.set_text("tokenizer.ggml.model", "gpt2");
    file.set_text("tokenizer.ggml.pre", options.pre);
    file.set_texts("tokenizer.ggml.tokens", tokens);
    file.set_texts("tokenizer.ggml.merges", merges);
    file.set_integers("tokenizer.ggml.token_type", types);
    file.set("tokenizer.ggml.bos_token_id", uint32_t(1));
    file.set("tokenizer.ggml.eos_token_id", uint32_t(2));
    file.set_bool("tokenizer.ggml.add_bos_token", true);
    if (options.adds_end) file.set_bool("tokenizer.ggml.add_eos_token", true);
    vocabulary_ = tokens.size();
  }

  void add_vocabulary() {
    if (!options.pre.empty()) return add_merging_vocabulary();
    vocabulary_ = add_plain_vocabulary(file);
    file.set("tokenizer.ggml.bos_token_id", uint32_t(1));
    file.set("tokenizer.ggml.eos_token_id", uint32_t(2));
    file.set("tokenizer.ggml.unknown_token_id", uint32_t(0));
    if (options.adds_end) file.set_bool("tokenizer.ggml.add_eos_token", true);
  }

  void set_counts(const std::string& name, int all, const std::vector<int32_t>& by_layer) {
    if (by_layer.empty()) {
      file.set(key(name), uint32_t(all));
    } else {
      file.set_integers(key(name), by_layer);
    }
  }

  // feeds: of a model whose layers are one thing each.
  void set_metadata(const std::vector<int32_t>& feeds = {}) {
    file.set_text("general.architecture", options.architecture);
    file.set_text("general.name", options.name);
    file.set(key("context_length"), uint32_t(options.context));
    file.set(key("embedding_length"), uint32_t(options.embedding()));
    file.set(key("block_count"), uint32_t(options.layers));
    set_counts("feed_forward_length", feed_forward_,
               is("nemotron_h") ? feeds : std::vector<int32_t>());
    set_counts("attention.head_count", options.heads, options.heads_by_layer);
    const bool by_layer = !delta_net();  // which have another key for that
    set_counts("attention.head_count_kv", options.kv_heads,
               by_layer ? options.kv_heads_by_layer : std::vector<int32_t>());
    file.set(key("attention.key_length"), uint32_t(options.key_dim()));
    file.set(key("attention.value_length"),
             uint32_t(options.absorbed ? options.latent_rank : options.head_dim));
    if (options.latent) set_latent();
    file.set(key("attention.layer_norm_rms_epsilon"), 1e-5f);
    file.set(key("attention.layer_norm_epsilon"), 1e-5f);
    file.set(key("rope.freq_base"), options.rope_base);
    if (is("gptneox")) {
      file.set(key("rope.dimension_count"), uint32_t(options.head_dim / 4));
      file.set_bool(key("use_parallel_residual"), true);
    }
    if (is("gemma2")) {  // every second layer attends to everything
      file.set(key("attention.sliding_window"), uint32_t(options.window));
      file.set(key("attn_logit_softcapping"), 3.0f);
    }
    if (is("gemma3")) {
      file.set(key("attention.sliding_window"), uint32_t(options.window));
      file.set(key("attention.sliding_window_pattern"), uint32_t(3));
      file.set(key("rope.freq_base_swa"), 100.0f);
    }
    if (is("llama4")) {  // chunks of 8,192 tokens; no layer has experts
      file.set(key("rope.dimension_count"), uint32_t(options.head_dim));
      file.set(key("expert_count"), uint32_t(16));
      file.set(key("expert_used_count"), uint32_t(1));
      file.set(key("expert_feed_forward_length"), uint32_t(feed_forward_));
      file.set(key("interleave_moe_layer_step"), uint32_t(0));
    }
    if (is("minimax-m3")) {  // behind the first layer, experts and an indexer
      file.set(key("rope.dimension_count"), uint32_t(options.head_dim));
      file.set(key("leading_dense_block_count"), uint32_t(1));
      file.set(key("expert_count"), uint32_t(experts_));
      file.set(key("expert_used_count"), uint32_t(1));
      file.set(key("expert_shared_count"), uint32_t(1));
      file.set(key("expert_feed_forward_length"), uint32_t(feed_forward_));
      file.set(key("expert_gating_func"), uint32_t(2));
      file.set(key("attention.indexer.head_count"), uint32_t(options.kv_heads));
      file.set(key("attention.indexer.key_length"), uint32_t(options.head_dim));
      file.set(key("attention.indexer.top_k"), uint32_t(1));
      file.set(key("attention.indexer.block_size"), uint32_t(16));
      file.set(key("attention.indexer.local_blocks"), uint32_t(1));
    }
    if (routed()) set_routing();
    if (is("gpt-oss") || is("gemma4")) {
      file.set(key("attention.sliding_window"), uint32_t(options.window));
    }
    if (is("gemma4")) {
      file.set_integers(key("attention.sliding_window_pattern"), {1, 1, 0});
      file.set(key("attention.key_length_swa"), uint32_t(options.head_dim));
      file.set(key("attention.value_length_swa"), uint32_t(options.head_dim));
      file.set(key("rope.freq_base_swa"), 100.0f);
      file.set(key("final_logit_softcapping"), 30.0f);
      file.set(key("embedding_length_per_layer_input"), uint32_t(0));
    }
    if (is("phi3") || is("glm4moe")) {
      const int rotated = is("phi3") ? options.head_dim : options.head_dim / 2;
      file.set(key("rope.dimension_count"), uint32_t(rotated));
    }
    if (is("apertus")) {
      for (const char* name : {"alpha_n", "alpha_p", "beta", "eps"}) {
        file.set(std::string("xielu.") + name, 0.5f);
      }
    }
    if (options.temperature) {
      file.set(key("attention.temperature_scale"), 0.5f);
      file.set(key("rope.scaling.original_context_length"), uint32_t(4));
    }
    if (is("mpt")) file.set(key("attention.max_alibi_bias"), 8.0f);
    if (!options.sections.empty()) {
      file.set_integers(key("rope.dimension_sections"), options.sections);
    }
    if (options.long_rope) {
      file.set_text(key("rope.scaling.type"), "longrope");
      file.set(key("rope.scaling.original_context_length"), uint32_t(300));
    }
    if (options.yarn) {
      file.set_text(key("rope.scaling.type"), "yarn");
      file.set(key("rope.scaling.factor"), 4.0f);
      file.set(key("rope.scaling.original_context_length"), uint32_t(options.context / 4));
    }
  }

  void set_latent() {
    file.set(key("attention.kv_lora_rank"), uint32_t(options.latent_rank));
    file.set(key("attention.q_lora_rank"), uint32_t(options.query_rank));
    file.set(key("rope.dimension_count"), uint32_t(options.turned));
    if (is("deepseek2") && !routed()) {
      file.set(key("expert_feed_forward_length"), uint32_t(feed_forward_));
      file.set(key("expert_shared_count"), uint32_t(1));
      file.set(key("leading_dense_block_count"), uint32_t(options.layers));
    }
    if (!options.absorbed) return;
    file.set(key("attention.key_length_mla"), uint32_t(options.plain + options.turned));
    file.set(key("attention.value_length_mla"), uint32_t(options.head_dim));
  }

  // Every token chooses two of four experts in each layer; glm4moe's and deepseek2's first has
  // none.
  bool routed() const {
    return options.experts || is("qwen3moe") || is("gpt-oss") || is("glm4moe") || is("olmoe") ||
           is("qwen2moe") || is("gemma4");
  }
  void set_routing() {
    file.set(key("expert_count"), uint32_t(4));
    file.set(key("expert_used_count"), uint32_t(2));
    file.set(key("expert_feed_forward_length"), uint32_t(feed_forward_));
    if (is("qwen2moe")) file.set(key("expert_shared_feed_forward_length"), uint32_t(feed_forward_));
    if (!is("glm4moe") && !is("deepseek2")) return;
    file.set(key("leading_dense_block_count"), uint32_t(1));
    file.set(key("expert_shared_count"), uint32_t(1));
    file.set_bool(key("expert_weights_norm"), true);
    file.set(key("expert_weights_scale"), 1.5f);
  }

  void add_decoder() {
    set_metadata();
    add_vocabulary();
    const uint64_t d = options.embedding();
    const bool old =
        is("gpt2") || is("gptneox") || is("mpt");  // LayerNorm, biases, joint projections
    add_matrix("token_embd.weight", d, vocabulary_, 1);
    if (is("gpt2")) add_matrix("position_embd.weight", d, uint64_t(options.context), 1);
    add_norm("output_norm", d, old);
    if (!is("gemma2")) add_linear("output", d, vocabulary_, false);
    if (options.frequency_factors || is("gemma4")) {
      add_vector("rope_freqs.weight", uint64_t(options.head_dim / 2), 4, 0.5);
    }
    if (options.long_rope) {
      add_vector("rope_factors_short.weight", uint64_t(options.head_dim / 2), 1, 0);
      add_vector("rope_factors_long.weight", uint64_t(options.head_dim / 2), 4, 0.5);
    }
    for (int i = 0; i < options.layers; ++i) add_layer(i, old);
    if (options.split) add_split_keys();
  }

  void add_split_keys() {
    for (uint16_t i = 0; i < 2; ++i) {
      GgufEmitter& part = i == 0 ? file : second_file;
      part.set_short("split.no", i);
      part.set_short("split.count", 2);
      part.set("split.tensors.count", int32_t(weights_.size()));
    }
  }

  void add_layer(int number, bool old) {
    const std::string blk = "blk." + std::to_string(number) + ".";
    const uint64_t d = options.embedding();
    const uint64_t q = uint64_t(options.heads_of(number)) * uint64_t(options.head_dim);
    const uint64_t kv = uint64_t(options.kv_heads_of(number)) * uint64_t(options.head_dim);
    add_norm(blk + "attn_norm", d, old);
    if (options.latent) {
      add_latent(blk);
    } else if (kv == 0) {
      // Only the output's matrix is left of attention.
    } else if (old || is("phi3")) {
      add_linear(blk + "attn_qkv", d, d + 2 * kv, old);
    } else {
      const bool bias = is("qwen2") || is("qwen2vl") || is("gpt-oss") || is("glm4moe");
      add_linear(blk + "attn_q", d, q, bias);
      add_linear(blk + "attn_k", d, kv, bias);
      add_linear(blk + "attn_v", d, kv, bias);
    }
    if (is("qwen3") || is("qwen3vl") || is("gemma3") || is("hunyuan-dense") || is("minimax-m3") ||
        is("qwen3moe") || is("glm4moe") || is("apertus") || is("gemma4")) {
      const double size = is("gemma4") ? 0.2 : 1;  // gemma4 scales queries in no other place
      add_vector(blk + "attn_q_norm.weight", uint64_t(options.head_dim), size, 0.1 * size);
      add_norm(blk + "attn_k_norm", uint64_t(options.head_dim), false);
    }
    if (is("olmoe")) {
      add_norm(blk + "attn_q_norm", q, false);
      add_norm(blk + "attn_k_norm", kv, false);
    }
    add_linear(blk + "attn_output", q, d, old || is("gpt-oss"));
    if (is("gpt-oss")) add_vector(blk + "attn_sinks.weight", uint64_t(options.heads), 1, 0.5);
    const bool after = is("gpt-oss") || is("glm4moe");
    add_norm(blk + (after ? "post_attention_norm" : "ffn_norm"), d, old);
    if (is("gemma2") || is("gemma3") || is("gemma4") || is("glm4")) {
      add_norm(blk + "post_attention_norm", d, false);
      add_norm(blk + "post_ffw_norm", d, false);
    }
    if (is("minimax-m3") && number > 0) return add_sparse(blk);
    if (is("gemma4")) {
      add_gemma4_routed(blk);
    } else if (routed() && !((is("glm4moe") || is("deepseek2")) && number == 0)) {
      return add_routed(blk);
    }
    const bool joint = is("phi3") || is("glm4");  // the gate's matrix and the other
    const bool gated = !old && !joint && !is("arcee") && !is("apertus");
    if (gated) add_linear(blk + "ffn_gate", d, feed_forward_, false);
    add_linear(blk + "ffn_up", d, joint ? 2 * feed_forward_ : feed_forward_, old);
    add_linear(blk + "ffn_down", feed_forward_, d, old);
  }

  void add_latent(const std::string& blk) {
    const uint64_t d = options.embedding(), rank = uint64_t(options.latent_rank);
    const uint64_t queries = uint64_t(options.query_rank), heads = uint64_t(options.heads);
    const uint64_t plain = uint64_t(options.plain), values = uint64_t(options.head_dim);
    add_linear(blk + "attn_q_a", d, queries, false);
    add_norm(blk + "attn_q_a_norm", queries, false);
    add_linear(blk + "attn_q_b", queries, heads * (plain + uint64_t(options.turned)), false);
    add_linear(blk + "attn_kv_a_mqa", d, rank + uint64_t(options.turned), false);
    add_norm(blk + "attn_kv_a_norm", rank, false);
    if (options.absorbed) {
      add_chosen(blk + "attn_k_b", plain, rank, heads, false);
      add_chosen(blk + "attn_v_b", rank, values, heads, false);
    } else {
      add_linear(blk + "attn_kv_b", rank, heads * (plain + values), false);
    }
  }

  void add_routed(const std::string& blk) {
    const uint64_t d = options.embedding();
    const bool bias = is("gpt-oss");
    add_linear(blk + "ffn_gate_inp", d, 4, bias);
    if (is("glm4moe")) add_vector(blk + "exp_probs_b.bias", 4, 0);
    add_chosen(blk + "ffn_gate_exps", d, feed_forward_, 4, bias);
    add_chosen(blk + "ffn_up_exps", d, feed_forward_, 4, bias);
    add_chosen(blk + "ffn_down_exps", feed_forward_, d, 4, bias);
    const bool gated = is("qwen2moe") || is("qwen3next");
    if (gated) add_vector(blk + "ffn_gate_inp_shexp.weight", d, 0);
    if (!is("glm4moe") && !is("deepseek2") && !gated) return;
    add_linear(blk + "ffn_gate_shexp", d, feed_forward_, false);
    add_linear(blk + "ffn_up_shexp", d, feed_forward_, false);
    add_linear(blk + "ffn_down_shexp", feed_forward_, d, false);
  }

  // Beside a gate and its like for all tokens; gates and what they let through are in one matrix.
  void add_gemma4_routed(const std::string& blk) {
    const uint64_t d = options.embedding();
    add_linear(blk + "ffn_gate_inp", d, 4, false);
    add_vector(blk + "ffn_gate_inp.scale", d, std::sqrt(double(d)));
    add_norm(blk + "pre_ffw_norm_2", d, false);
    add_norm(blk + "post_ffw_norm_1", d, false);
    add_norm(blk + "post_ffw_norm_2", d, false);
    add_chosen(blk + "ffn_gate_up_exps", d, 2 * feed_forward_, 4, false);
    add_chosen(blk + "ffn_down_exps", feed_forward_, d, 4, false);
    add_vector(blk + "ffn_down_exps.scale", 4, 1);
    add_vector(blk + "layer_output_scale.weight", 1, 0.7);
  }

  // minimax-m3's experts, and what chooses the keys that a token attends to.
  void add_sparse(const std::string& blk) {
    const uint64_t d = options.embedding(), dim = uint64_t(options.head_dim);
    add_linear(blk + "ffn_gate_inp", d, experts_, false);
    add_vector(blk + "exp_probs_b.bias", experts_, 0);
    add_experts(blk + "ffn_gate", d, feed_forward_);
    add_experts(blk + "ffn_up", d, feed_forward_);
    add_experts(blk + "ffn_down", feed_forward_, d);
    add_linear(blk + "indexer.q_proj", d, uint64_t(options.kv_heads) * dim, false);
    add_linear(blk + "indexer.k_proj", d, dim, false);
    add_norm(blk + "indexer.q_norm", dim, false);
    add_norm(blk + "indexer.k_norm", dim, false);
  }
  // Those that tokens choose, and one for all.
  void add_experts(const std::string& name, uint64_t in, uint64_t out) {
    add_chosen(name + "_exps", in, out, experts_, false);
    add_linear(name + "_shexp", in, out, false);
  }
  void add_chosen(const std::string& name, uint64_t in, uint64_t out, uint64_t n, bool bias) {
    std::vector<float> values(in * out * n);
    for (float& v : values) v = float(random_.normal() / std::sqrt(double(in)));
    file.add_tensor(name + ".weight", {in, out, n}, values);
    if (!bias) return;
    values.resize(out * n);
    for (float& v : values) v = float(0.1 * random_.normal());
    file.add_tensor(name + ".bias", {out, n}, values);
  }

  void add_mamba() {
    constexpr uint64_t conv = 4, state = 8, rank = 4;
    set_metadata();
    const uint64_t d = options.embedding(), inner = 2 * d;
    file.set(key("ssm.conv_kernel"), uint32_t(conv));
    file.set(key("ssm.inner_size"), uint32_t(inner));
    file.set(key("ssm.state_size"), uint32_t(state));
    file.set(key("ssm.time_step_rank"), uint32_t(rank));
    add_vocabulary();
    add_matrix("token_embd.weight", d, vocabulary_, 1);
    add_norm("output_norm", d, false);
    for (int i = 0; i < options.layers; ++i) {
      const std::string blk = "blk." + std::to_string(i) + ".";
      add_norm(blk + "attn_norm", d, false);
      add_linear(blk + "ssm_in", d, 2 * inner, false);
      add_linear(blk + "ssm_conv1d", conv, inner, true);
      add_linear(blk + "ssm_x", inner, rank + 2 * state, false);
      add_linear(blk + "ssm_dt", rank, inner, true);
      add_matrix(blk + "ssm_a", state, inner);
      add_vector(blk + "ssm_d", inner, 0);
      add_linear(blk + "ssm_out", inner, d, false);
    }
  }

  // Hybrids: recurrent where a layer has no KV heads; falcon-h1's layers are both.
  static constexpr uint64_t conv_ = 4, state_ = 16, rank_ = 4, groups_ = 2;
  bool attends(int layer) const { return is("falcon-h1") || options.kv_heads_of(layer) > 0; }
  bool recurs(int layer) const { return is("falcon-h1") || options.kv_heads_of(layer) == 0; }
  // nemotron_h's layers are one thing each.
  bool only_feeds(int layer) const { return is("nemotron_h") && layer % 3 == 2; }
  bool delta_net() const { return is("qwen3next") || is("qwen35"); }
  uint64_t inner() const { return delta_net() ? rank_ * state_ : 2 * options.embedding(); }

  void set_hybrid_metadata() {
    std::vector<int32_t> feeds;
    for (int i = 0; i < options.layers; ++i) feeds.push_back(only_feeds(i) ? feed_forward_ : 0);
    set_metadata(feeds);
    if (is("lfm2")) {
      file.set(key("shortconv.l_cache"), uint32_t(3));
      if (options.slides) file.set(key("attention.sliding_window"), uint32_t(options.window));
      return;
    }
    file.set(key("ssm.conv_kernel"), uint32_t(conv_));
    file.set(key("ssm.inner_size"), uint32_t(inner()));
    file.set(key("ssm.state_size"), uint32_t(state_));
    file.set(key("ssm.time_step_rank"), uint32_t(rank_));
    file.set(key("ssm.group_count"), uint32_t(groups_));
    if (!delta_net()) return;
    file.set(key("full_attention_interval"), uint32_t(2));
    file.set(key("rope.dimension_count"), uint32_t(options.head_dim / 2));
    if (is("qwen35")) return file.set_integers(key("rope.dimension_sections"), {3, 3, 2, 0});
    set_routing();
    file.set(key("expert_shared_feed_forward_length"), uint32_t(feed_forward_));
  }

  void add_hybrid() {
    set_hybrid_metadata();
    add_vocabulary();
    add_matrix("token_embd.weight", options.embedding(), vocabulary_, 1);
    add_norm(is("lfm2") ? "token_embd_norm" : "output_norm", options.embedding(), false);
    add_linear("output", options.embedding(), vocabulary_, false);
    for (int i = 0; i < options.layers; ++i) add_hybrid_layer(i);
  }

  void add_hybrid_layer(int number) {
    const std::string blk = "blk." + std::to_string(number) + ".";
    const uint64_t d = options.embedding();
    add_norm(blk + "attn_norm", d, false);
    if (attends(number)) add_hybrid_attention(blk);
    if (recurs(number) && !only_feeds(number)) add_recurrence(blk);
    if (is("nemotron_h") && !only_feeds(number)) return;
    if (delta_net()) add_norm(blk + "post_attention_norm", d, false);
    if (is("qwen3next")) return add_routed(blk);
    if (is("falcon-h1")) {
      add_vector(blk + "ffn_norm", d, 1);  // that is the name of all of it
    } else if (!is("nemotron_h") && !is("qwen35")) {
      add_norm(blk + "ffn_norm", d, false);
    }
    if (!is("nemotron_h")) add_linear(blk + "ffn_gate", d, feed_forward_, false);
    add_linear(blk + "ffn_up", d, feed_forward_, false);
    add_linear(blk + "ffn_down", feed_forward_, d, false);
  }

  void add_hybrid_attention(const std::string& blk) {
    const uint64_t d = options.embedding(), dim = uint64_t(options.head_dim);
    const uint64_t kv = uint64_t(options.kv_heads) * dim;
    add_linear(blk + "attn_q", d, delta_net() ? 2 * d : d, false);  // there with a gate
    add_linear(blk + "attn_k", d, kv, false);
    add_linear(blk + "attn_v", d, kv, false);
    add_linear(blk + "attn_output", d, d, false);
    if (!delta_net() && !is("lfm2")) return;
    add_norm(blk + "attn_q_norm", dim, false);
    add_norm(blk + "attn_k_norm", dim, false);
  }

  void add_recurrence(const std::string& blk) {
    if (is("lfm2")) return add_short_convolution(blk);
    if (is("jamba")) return add_first_mamba(blk);
    if (delta_net()) return add_delta_net(blk);
    add_second_mamba(blk);
  }
  void add_short_convolution(const std::string& blk) {
    const uint64_t d = options.embedding();
    add_linear(blk + "shortconv.in_proj", d, 3 * d, false);
    add_linear(blk + "shortconv.conv", 3, d, false);
    add_linear(blk + "shortconv.out_proj", d, d, false);
  }
  void add_first_mamba(const std::string& blk) {
    const uint64_t d = options.embedding(), n = inner();
    add_linear(blk + "ssm_in", d, 2 * n, false);
    add_linear(blk + "ssm_conv1d", conv_, n, true);
    add_linear(blk + "ssm_x", n, rank_ + 2 * state_, false);
    add_norm(blk + "ssm_dt_norm", rank_, false);
    add_norm(blk + "ssm_b_norm", state_, false);
    add_norm(blk + "ssm_c_norm", state_, false);
    add_linear(blk + "ssm_dt", rank_, n, true);
    add_around(blk + "ssm_a", {state_, n}, -1);
    add_vector(blk + "ssm_d", n, 1);
    add_linear(blk + "ssm_out", n, d, false);
  }
  void add_second_mamba(const std::string& blk) {
    const uint64_t d = options.embedding(), n = inner(), joint = n + 2 * groups_ * state_;
    add_linear(blk + "ssm_in", d, n + joint + rank_, false);
    add_linear(blk + "ssm_conv1d", conv_, joint, true);
    add_vector(blk + "ssm_dt.bias", rank_, 0);
    add_around(blk + "ssm_a", {1, rank_}, -1);
    add_around(blk + "ssm_d", {1, rank_}, 1);
    add_around(blk + "ssm_norm.weight", {n / groups_, groups_}, 1);
    add_linear(blk + "ssm_out", n, d, false);
  }
  void add_delta_net(const std::string& blk) {
    const uint64_t d = options.embedding(), keys = 2 * groups_ * state_;
    if (is("qwen35")) {
      add_linear(blk + "attn_qkv", d, keys + inner(), false);
      add_linear(blk + "attn_gate", d, inner(), false);
      add_linear(blk + "ssm_alpha", d, rank_, false);
      add_linear(blk + "ssm_beta", d, rank_, false);
    } else {
      add_linear(blk + "ssm_in", d, keys + 2 * inner(), false);
      add_linear(blk + "ssm_ba", d, 2 * rank_, false);
    }
    add_linear(blk + "ssm_conv1d", conv_, keys + inner(), false);
    add_vector(blk + "ssm_dt.bias", rank_, 0);
    add_vector(blk + "ssm_a", rank_, -1);
    add_norm(blk + "ssm_norm", state_, false);
    add_linear(blk + "ssm_out", inner(), d, false);
  }

  static constexpr uint64_t feed_forward_ = 64, experts_ = 2;
  Random random_;
  uint64_t vocabulary_ = 0;
  std::map<std::string, std::vector<float>> weights_;
};

// A kind of model by its architecture, perhaps with "+yarn", "+factors", "+heads" (another number
// of KV heads in one layer) or "+gap" (a layer without attention) or "+queries" (other numbers of
// query heads), "+temperature", "+sections" (M-RoPE) or "+experts" (deepseek2), and what tests call
// it.
inline TinyOptions family(const std::string& name) {
  TinyOptions o;
  o.architecture = name.substr(0, name.find('+'));
  o.yarn = name.ends_with("+yarn");
  if (o.architecture == "olmoe") o.kv_heads = o.heads;  // its norms are as wide as all query heads
  o.temperature = name.ends_with("+temperature");
  o.frequency_factors = name.ends_with("+factors");
  if (name.ends_with("+heads")) o.kv_heads_by_layer = {2, 1, 2};
  if (name.ends_with("+queries")) o.heads_by_layer = {4, 2, 4};
  if (o.architecture == "minicpm3" || o.architecture == "deepseek2") {
    o.latent = true;
    o.absorbed = o.architecture == "deepseek2" && !name.ends_with("+heads");
    o.experts = name.ends_with("+experts");
    o.kv_heads = o.absorbed ? 1 : o.heads;
    o.kv_heads_by_layer.clear();
  }
  if (name.ends_with("+gap")) o.kv_heads_by_layer = {2, 0, 2};
  if (o.hybrid()) {
    o.layers = 4;
    if (o.architecture != "falcon-h1") o.kv_heads_by_layer = {0, 2, 0, 2};
    if (o.architecture == "nemotron_h") o.layers = 5, o.kv_heads_by_layer = {0, 2, 0, 0, 2};
  }
  o.slides = name.ends_with("+window");
  // The last section of each turns by a position that text does not have.
  if (o.architecture == "qwen2vl") o.sections = {4, 4, 4, 4};
  if (o.architecture == "qwen3vl") o.sections = {6, 5, 4, 1};
  if (name.ends_with("+sections")) o.sections = {2, 1, 2, 3};
  if (o.architecture == "llama4") o.layers = 4;  // the last one sees everything, without rotation
  return o;
}
inline std::string family_name(std::string name) {
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
}

// Tokens that are letters, repeatable.
inline std::vector<int32_t> letters(size_t n, uint64_t seed = 7) {
  Random random(seed);
  std::vector<int32_t> tokens(n);
  for (int32_t& t : tokens) t = 260 + int32_t(random.below(26));
  return tokens;
}

}  // namespace kvsplice::testing
