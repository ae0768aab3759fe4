// What the rest of the program knows of a language model: the geometry of its cache, its rotary
// embedding and a fingerprint. Filled in by host/, stored in dumps, codecs and sessions.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/matrix.h"
#include "kvsplice/result.h"

namespace kvsplice {

enum class Kind { key, value };

inline const char* name(Kind kind) { return kind == Kind::key ? "key" : "value"; }

// Rotary position embedding of one layer: pair i of a head turns by position * frequency[i].
// Scaling schemes (linear, YaRN, frequency factors) are folded into the table, since all of them
// are linear in the position. No frequencies: the layer does not rotate.
struct Rope {
  enum class Pairs {
    adjacent,
    halves
  };  // (2i, 2i+1), or (i, i + n/2) with n = 2 * frequency.size(), from `first` on
  Pairs pairs = Pairs::adjacent;
  std::vector<float> frequency;
  float magnitude = 1;  // YaRN's attention factor, applied to the rotated pairs
  int first = 0;        // dimension of a head at which the pairs begin

  bool rotates() const { return !frequency.empty(); }
  bool operator==(const Rope&) const = default;

  // Rotates every head of each row in place. rows: [n x heads * head_dim], positions: size n.
  void apply(MatrixView<float> rows, int head_dim, std::span<const int32_t> positions) const;
  void undo(MatrixView<float> rows, int head_dim, std::span<const int32_t> positions) const;
};

// What attention does to scores beside softmax(q . k / sqrt(key_dim)).
struct Scoring {
  float soft_cap = 0;        // a score x becomes cap * tanh(x / cap); 0: it stays
  std::vector<float> sinks;  // of every query head a score that stands for no token; or none

  bool operator==(const Scoring&) const = default;
};

// The first position that the token at `position` attends to.
size_t first_seen(size_t position, size_t window, bool chunked);

struct LayerShape {
  int layer = 0;  // index in the model
  int kv_heads = 0;
  int key_dim = 0;    // per head
  int value_dim = 0;  // 0: attention takes values from the keys (multi-head latent attention)
  int window = 0;     // of attention, in tokens; 0: everything is seen
  Rope rope;
  bool chunked = false;  // the window does not slide: it begins at the last multiple of its length

  int heads_dim(Kind kind) const { return kind == Kind::key ? key_dim : value_dim; }
  int width(Kind kind) const { return kv_heads * heads_dim(kind); }
  size_t first_seen(size_t position) const {
    return kvsplice::first_seen(position, size_t(window), chunked);
  }
  bool operator==(const LayerShape&) const = default;
};

// A layer that carries a state from token to token, of values that llama.cpp calls r (what a
// convolution has seen) and s (of the recurrence itself). It may own a cache, too.
struct RecurrentLayer {
  int layer = 0;  // index in the model
  size_t r = 0, s = 0;

  size_t values() const { return r + s; }
  bool operator==(const RecurrentLayer&) const = default;
};

// Error format if a layer, or all of them together, hold more of a token than is legal (limits.h).
Result<> check_widths(const std::vector<LayerShape>& layers);

struct ModelShape {
  std::string architecture;  // "llama", "qwen2", ...
  std::string model_name;
  std::string fingerprint;  // 32 hex digits over metadata and tensors; see gguf/model_file.h
  int query_heads = 0;      // of a layer, the most
  int embedding_dim = 0;
  int vocabulary = 0;
  std::vector<LayerShape> layers;  // the layers that own a cache
  // Numbers of layers without attention, for which llama.cpp's states hold rows of no bytes.
  std::vector<int> empty_layers = {};
  std::vector<int> query_heads_by_layer = {};  // like `layers`; empty: all have query_heads
  std::vector<RecurrentLayer> recurrent = {};  // of a hybrid model
  bool places = false;  // cells of llama.cpp's states say where in an image they are (M-RoPE)

  int query_heads_of(int layer) const {  // an index into `layers`
    return query_heads_by_layer.empty() ? query_heads : query_heads_by_layer[size_t(layer)];
  }

  bool hybrid() const { return !recurrent.empty(); }
  size_t recurrent_bytes() const;  // of the f32 state of all recurrent layers, at any token

  // f16 bytes of one token's keys and values over all layers, windows not considered.
  size_t f16_bytes_per_token() const;
  // Denominator of every ratio (docs/quality.md, "Bytes"): layers with a window hold at most
  // `window` tokens.
  double f16_bytes(size_t tokens) const;
  size_t longest_window() const;  // 0: no layer has one
  // How many first of `tokens` the last of them does not see in any layer with a window: what
  // llama.cpp's states leave out. Nor does a later token see them.
  size_t tokens_out_of_sight(size_t tokens) const;
  bool lacks_values() const;  // some layer does
  size_t values_per_token() const { return f16_bytes_per_token() / 2; }
  bool operator==(const ModelShape&) const = default;
};

// Error format if a layer's query heads do not share its KV heads evenly.
Result<> check_query_heads(const ModelShape& shape);

}  // namespace kvsplice
