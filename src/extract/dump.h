// dump.gguf: what a model computed for one or more texts. Tensors `<signal>.<layer>` of type f16,
// [tokens x heads x head_dim], signals k_pre (keys before RoPE), k, v and q; plus `tokens` and
// `positions` (i32). Readable by any GGUF reader; docs/extract.md lists the metadata.
#pragma once

#include <string>
#include <vector>

#include "core/limits.h"
#include "core/progress.h"
#include "core/shape.h"
#include "gguf/gguf_file.h"
#include "host/model.h"

namespace kvsplice::extract {

struct TextInfo {
  std::string name;  // file name, without folders
  std::string hash;  // of its bytes
  size_t tokens = 0;
};

// Queries of latent attention are as wide as the row, and of as many as 128 heads: of at most so
// many, evenly spaced, they stand for all. Whoever learns from the logarithm of attention less its
// mean, as `focus` does, need not know how many they were.
constexpr int kLatentReaders = 8;

struct DumpInfo {
  ModelShape shape;         // of the whole model
  std::vector<int> layers;  // indices into shape.layers that were dumped, ascending
  std::vector<int> heads;   // KV heads that were dumped, ascending; of a layer those it has
  std::vector<host::Signal> signals;
  std::vector<Scoring> scoring;  // like shape.layers; none if no layer has any
  std::vector<TextInfo> texts;   // in order, one per sequence; positions restart at 0 with each
  bool synthetic = false;

  size_t tokens() const;
  std::span<const int> heads_of(int layer) const;  // of `heads`, those that the layer has
  std::vector<int> readers_of(
      int layer) const;                 // the query heads that read these; of latents, some
  Scoring scoring_of(int layer) const;  // of these query heads
};

struct ExtractOptions {
  size_t tokens = 2048;            // of each text; of texts with fewer all, if one has as many
  std::vector<int> layers, heads;  // empty: all
  bool queries = true;
  bool keys_after_rope = true;
  int n_ubatch = 0;  // most tokens evaluated at once; 0: the model's
  int threads = 0;
};

// Tokens that are evaluated together, from an empty cache.
struct Sequence {
  std::string text;  // name and hash of the file they come from
  std::string hash;
  std::vector<int32_t> tokens;
};

// All of a text.
Result<Sequence> read_sequence(const host::Model& model, const std::string& path);

// Evaluates the sequences and writes everything to `out`, under that name only once it is whole.
// options.tokens does not count.
Result<DumpInfo> extract(const host::Model& model, const std::vector<Sequence>& sequences,
                         const ExtractOptions& options, const std::string& out,
                         const Progress& progress);
// The same for the beginnings of texts.
Result<DumpInfo> extract(const host::Model& model, const std::vector<std::string>& text_paths,
                         const ExtractOptions& options, const std::string& out,
                         const Progress& progress);

struct SyntheticOptions {  // the NeRF-Attention seed's generator, design note "Data"
  int layers = 4, heads = 4, head_dim = 128;
  size_t tokens = 512;
  uint64_t seed = 0;
};
Result<DumpInfo> extract_synthetic(const SyntheticOptions& options, const std::string& out);

class Dump {
 public:
  // The limits are kept by what is read later, too.
  static Result<Dump> open(const std::string& path, const ReadLimits& limits = {});

  const DumpInfo& info() const { return info_; }
  const std::string& path() const { return file_.path(); }
  std::span<const int32_t> tokens() const { return tokens_; }
  std::span<const int32_t> positions() const { return positions_; }
  bool has(host::Signal signal) const;

  // Rows [first, first + n) of one layer, all dumped heads: [n x heads * head_dim]. `layer` indexes
  // shape.layers and must have been dumped. Queries have shape.query_heads_of(layer), or those of
  // readers_of(layer) if it is latent.
  Result<Matrix<float>> read(host::Signal signal, int layer, size_t first, size_t n) const;
  Result<Matrix<float>> read(host::Signal signal, int layer) const;  // all rows
  // Queries of the heads that read the dumped KV heads only.
  Result<Matrix<float>> read_queries(int layer, size_t first, size_t n) const;

 private:
  Dump(gguf::GgufReader file, const ReadLimits& limits) : file_(std::move(file)), limits_(limits) {}
  static Result<Dump> read_from(gguf::GgufReader file, const ReadLimits& limits);

  gguf::GgufReader file_;
  ReadLimits limits_;
  DumpInfo info_;
  std::vector<int32_t> tokens_, positions_;
};

}  // namespace kvsplice::extract
