// Quality in the loop: perplexity and divergence of a model whose older cache rows have gone
// through a codec before later tokens attend to them, beside llama.cpp's own cache types.
//
// A text is cut into chunks of n_ctx tokens, each evaluated on its own with BOS first; positions
// n_ctx/2 ... n_ctx-2 are scored (llama-perplexity's protocol). llama.cpp's types are evaluated 512
// tokens at a time, as that tool does; codecs and the floor `step` tokens at a time, because rows
// are replaced between evaluations. Each is compared with an f16 base evaluated the same way.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "codec/codec.h"
#include "core/progress.h"
#include "host/model.h"

namespace kvsplice::quality {

struct Options {
  int n_ctx = 512;
  int chunks = 4;
  int skip_chunks = 0;
  int sinks = 4;   // first tokens of a chunk, always exact
  int window = 0;  // newest tokens kept exact, beside those of the evaluation under way
  int step = 0;    // tokens evaluated at once; 0: 32, or n_ctx / 2 for codecs of whole blocks
  int threads = 0;
};

// A cache under test: llama.cpp's type, a codec, or neither: the noise floor (docs/quality.md).
struct Subject {
  std::string name;
  std::optional<host::CacheType> type;
  const codec::Codec* codec = nullptr;
  // The codec as a live cache (docs/live.md), whose window is at least Options::window.
  std::shared_ptr<const live::LiveForm> live = nullptr;
};

struct Outcome {
  std::string cache;
  std::string pipeline;               // empty for llama.cpp's types
  int step = 0;                       // tokens evaluated at once
  double bits_per_value = 0;          // real bytes of encoded blocks; 0 for the floor
  double entropy_bits_per_value = 0;  // estimate; 0 where the pipeline does not quantise
  double ratio = 0;                   // f16 bytes / bytes of the tokens that were encoded
  double ratio_with_window = 0;       // f16 bytes / bytes of everything: sinks and window as f16
  double ppl = 0, ppl_error = 0;
  double kld_mean = 0, kld_median = 0, kld_p99 = 0, top1_percent = 0, rms_dp_percent = 0;
  double tokens_per_second = 0;  // evaluation and replacing of rows; scoring not counted
  double encode_us_per_token = 0, decode_us_per_token = 0;
  size_t scored = 0;
  size_t codec_file_bytes = 0;  // fitted state, paid once
  size_t state_bytes = 0;       // of a hybrid's recurrent state: on both sides of ratios
};

// The first outcome is f16 in llama.cpp's chunking; if codecs or the floor are among the subjects,
// f16 in theirs follows, named "f16 (step N)". Errors: text too short, codec of another model.
Result<std::vector<Outcome>> measure(const host::Model& model, std::span<const host::Token> tokens,
                                     const std::vector<Subject>& subjects, const Options& options,
                                     const Progress& progress);

}  // namespace kvsplice::quality
