// One cache under test: its context, the replacing of rows, and what it adds up over chunks.
#pragma once

#include <memory>
#include <vector>

#include "host/cache_block.h"
#include "quality/quality.h"
#include "quality/score.h"

namespace kvsplice::quality {

class Run {
 public:
  static Result<Run> create(const host::Model& model, const Subject& subject, int step,
                            const Options& options);

  // A chunk (its first token already BOS), evaluated from its beginning to its end in steps.
  void begin();
  // Evaluates what comes next of the chunk and scores it; `base` has done this step before, or is
  // null for the base itself. Memory holds the logits of one step of each run.
  Result<> step(std::span<const host::Token> chunk, std::span<const host::Token> targets,
                const Run* base);
  Result<> end(std::span<const host::Token> chunk);
  Outcome outcome() const;
  const std::string& name() const { return subject_.name; }

 private:
  Run(const host::Model& model, const Subject& subject, int step, const Options& options);
  Result<> replace_up_to(std::span<const host::Token> chunk, size_t limit);
  Result<> replace(std::span<const host::Token> chunk, size_t first, size_t end);
  Result<KvBlock<float>> reconstruct(const KvBlock<float>& block);
  Result<> count_bytes(size_t chunk);
  void count_live_bytes();
  bool depends() const;  // whether coded rows depend on rows before them in their block
  size_t block_tokens() const;
  void score(size_t rows, std::span<const host::Token> targets, const Run* base);

  const host::Model* model_;
  Subject subject_;
  int step_;
  Options options_;
  std::optional<host::Context> context_;
  codec::Embeddings embeddings_;

  size_t replaced_ = 0;  // rows [sinks, replaced_) of this chunk went through the codec
  std::vector<KvBlock<float>> originals_;  // those rows as they were, for counting bytes
  std::vector<KvBlock<float>> open_;       // those of the block that is not full, if rows depend
  std::vector<LogProbs> rows_;             // scored positions of the step
  Perplexity perplexity_;
  Divergence divergence_;
  codec::EntropyMeter meter_;
  double seconds_ = 0, encode_seconds_ = 0, decode_seconds_ = 0;
  size_t evaluated_ = 0, encoded_ = 0, bytes_ = 0, chunks_ = 0;
  size_t exact_bytes_ = 0;  // of a live cache's other tokens
  // Bytes of f16 cells: those that were encoded, and all that a cache holds behind a chunk.
  double encoded_f16_ = 0, held_f16_ = 0;
};

}  // namespace kvsplice::quality
