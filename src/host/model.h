// The language model, behind an interface that knows nothing of llama.cpp. This folder is the only
// one that includes it; everything here is proved by host_test.cc on generated models.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/progress.h"
#include "core/shape.h"
#include "host/state_format.h"
#include "live/layer_cache.h"
#include "session/recurrent.h"

namespace kvsplice::host {

using Token = int32_t;

// Where a model's weights lie, and how all its contexts evaluate.
struct ModelOptions {
  int gpu_layers = 0;                // so many layers lie in memory of devices, with their cache
  std::vector<std::string> servers;  // whose devices are used: HOST:PORT of ggml's RPC servers
  bool mmap = true;                  // weights stay in the file until they are needed
  int batch = 2048, ubatch = 512;    // most tokens evaluated at once: the lesser
  bool flash_attention = true;
  // Tokens of the contexts that are meant: models with two rotations (LongRoPE) then turn by the
  // one that llama.cpp takes for these. All contexts of such a model are made long.
  int context = 0;

  int most_at_once() const { return std::min(batch, ubatch); }
  bool on_devices() const { return gpu_layers > 0; }
};

class Model {
 public:
  // Refuses by name what cannot be handled: models that are only recurrent, encoders.
  // Error usage for layers on devices where there are none.
  static Result<Model> load(const std::string& path, const ModelOptions& options = {});
  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;
  ~Model();

  const ModelShape& shape() const;
  std::span<const Scoring> scoring() const;  // like shape().layers
  const std::string& path() const;
  const ModelOptions& options() const;
  uint64_t file_bytes() const;
  int context_limit() const;  // tokens the model was trained for
  // Error unsupported, and why, if attention cannot be answered from a live cache; what only an
  // evaluation shows is not looked at.
  Result<> check_live_cache() const;

  // With special tokens (BOS first if the vocabulary adds one).
  Result<std::vector<Token>> tokenize(const std::string& text) const;
  std::string piece(Token token) const;
  bool adds_bos() const;
  Token bos() const;
  bool ends_generation(Token token) const;

  // Rows of the token embedding, each divided by its rms: out [tokens x embedding_dim].
  Result<> normalised_embeddings(std::span<const Token> tokens, MatrixView<float> out) const;

  struct Impl;
  Impl& impl() const { return *impl_; }

 private:
  explicit Model(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

enum class CacheType { f32, f16, q8_0, q5_1, q5_0, q4_1, q4_0 };
const std::vector<std::string>& cache_type_names();
Result<CacheType> parse_cache_type(const std::string& name);  // error lists the legal names
double bits_per_value(CacheType type);

enum class Signal { key_before_rope, key, value, query };  // key and query: after RoPE
const char* name(Signal signal);

// Rows just computed: [n x heads * head_dim], row i belongs to position first + i of the sequence.
// Queries are scaled so that attention weighs by softmax(q . k / sqrt(key_dim)).
struct Capture {
  Signal signal;
  int layer;  // index into ModelShape::layers
  int head_dim;
  size_t first;
  MatrixView<const float> rows;
};

constexpr int kLiveCells = 256;  // that llama.cpp keeps beside a live cache

struct ContextOptions {
  int n_ctx = 512;
  int n_ubatch = 0;  // most tokens evaluated at once; 0: the model's
  int threads = 0;   // 0 = all of core/threads.h
  CacheType cache = CacheType::f16;
  bool flash_attention = true;  // if the model's options do not say no
  // Called after each tensor is computed, on the caller's thread; an error ends the evaluation.
  std::function<Result<>(const Capture&)> capture;
  std::vector<Signal> signals;  // which to capture
  // Attention reads a live cache of this form; no more than kLiveCells tokens are evaluated
  // together. Cells cannot be read,
  // written, saved or taken back then.
  std::shared_ptr<const live::LiveForm> live;
  live::LiveOptions live_options;
  // Identity hook: writes every stored row back to the cache as it was read (self-test only).
  bool write_back = false;
};

// One sequence being evaluated.
class Context {
 public:
  static Result<Context> create(const Model& model, const ContextOptions& options);
  Context(Context&&) noexcept;
  Context& operator=(Context&&) noexcept;
  ~Context();

  // Evaluates tokens at positions size() ...; logits are kept for the last `outputs` of them. Of
  // hybrids nothing is left in the context if that fails.
  Result<> decode(std::span<const Token> tokens, size_t outputs = 0);
  // Row i of the outputs of the last decode, size vocabulary.
  std::span<const float> logits(size_t i) const;
  size_t size() const;  // tokens in the cache
  void clear();
  // Keeps the first n tokens. Of hybrids only all of them can be kept: a recurrent state goes back
  // to where it was saved.
  Result<> truncate(size_t n);
  Result<session::RecurrentState> recurrent_state() const;  // behind the last token
  Result<> go_back(const session::RecurrentState& state);   // keeps the tokens it has seen

  // Rows [first, first + n) of the cache as floats; keys after RoPE. f16 and f32 caches only.
  // out: [n x width(kind)].
  Result<> read_cache(Kind kind, int layer, size_t first, MatrixView<float> out) const;
  Result<> write_cache(Kind kind, int layer, size_t first, MatrixView<const float> rows);
  size_t cache_bytes() const;  // as allocated by llama.cpp; of a live cache, its own
  std::optional<live::CellBytes> live_cells() const;  // of a live cache
  // All layers of a live cache, of this context's form, and the reverse, which replaces whatever is
  // in the context.
  const std::vector<live::LayerCache>& live_layers() const;
  Result<> set_live_layers(std::vector<live::LayerCache> layers);
  CacheType cache_type() const;
  std::span<const Turns> turns() const;  // of this cache's heads; like ModelShape::layers

  // The cache as llama.cpp saves a sequence (llama_state_seq_get_data), and the reverse, which
  // replaces whatever is in the context. host/context_cells.h reads and makes such bytes. Of
  // layers with a window it has only the cells inside; behind load_state their rows cannot be read
  // here.
  Result<Bytes> save_state() const;
  Result<> load_state(ByteSpan state);

 private:
  struct Impl;
  explicit Context(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvsplice::host
