// Tensor-level quality of a codec on a dump: errors of the vectors, errors of attention with the
// model's own queries, exact bytes, speed. The first tokens of each text (sinks) stay exact, as in
// use; the rest is encoded in blocks.
#pragma once

#include <optional>
#include <vector>

#include "codec/codec.h"
#include "evaluate/metrics.h"
#include "extract/dump.h"

namespace kvsplice::evaluate {

struct EvaluateOptions {
  size_t block = 256;     // tokens encoded at once
  size_t max_tokens = 0;  // of each text; 0: all
  size_t queries = 256;   // positions of each text whose attention is compared, evenly spaced
  size_t sinks = 4;
};

// The keys or values of one layer. Keys are compared before rotary embedding; it turns both sides
// alike, so cosine and error are the same after it.
struct UnitQuality {
  int layer = 0;  // number in the model
  Kind kind = Kind::key;
  VectorErrors errors;
  size_t bytes = 0;  // 0 when the codec joins layers
};

// Outputs of attention against those with the exact cache.
struct AttentionQuality {
  int layer = 0;
  ErrorSums key, value, both;  // what was compressed
};

struct CodecQuality {
  size_t tokens = 0;       // encoded
  size_t sink_tokens = 0;  // beside them, exact
  size_t values_per_token = 0;
  size_t bytes = 0;        // of the encoded blocks
  size_t state_bytes = 0;  // of the codec file, paid once
  // What an ideal static coder would spend on the codes; only for pipelines that quantise.
  std::optional<double> key_entropy_bits, value_entropy_bits;  // per value
  double encode_seconds = 0, decode_seconds = 0;
  size_t query_positions = 0;
  std::vector<UnitQuality> units;           // keys, then values, layer by layer
  std::vector<AttentionQuality> attention;  // by layer; empty if the dump has no queries

  double f16_bytes() const { return 2.0 * double(values_per_token) * double(tokens); }
  double bits_per_value() const { return 16 * double(bytes) / f16_bytes(); }
  double ratio() const { return f16_bytes() / double(bytes); }
  double ratio_with_sinks() const;
  // Tokens after which cache and side data together are smaller than f16; none if never.
  std::optional<double> payback_tokens() const;
  VectorErrors errors(Kind kind) const;  // of all layers
  // Mean over layers of the relative rms error; `part` is AttentionQuality::key, ::value or ::both.
  double attention_error(ErrorSums AttentionQuality::*part) const;
};

// `name` stands for the codec in messages. Errors: a codec of another model, layers or heads;
// embeddings needed but not given; too little text; decoded values that are not finite.
Result<CodecQuality> evaluate(const codec::Codec& codec, const std::string& name,
                              const extract::Dump& dump, const EvaluateOptions& options,
                              const codec::Embeddings* embeddings, const Progress& progress);

}  // namespace kvsplice::evaluate
