// A prompt restored through a codec, and what units' errors do to the prediction behind it.
#pragma once

#include <functional>
#include <vector>

#include "codec/codec.h"
#include "host/gradient.h"

namespace kvsplice::calibrate {

// Index of the unit that codes a layer's rows; units().size() if there is none.
size_t unit_of(const codec::Codec& codec, Kind kind, int layer);

// What one unit was given, what became of it, and how the divergence changes with the latter:
// [tokens of the prompt x width] each, keys before rotation, without the sinks.
struct UnitRows {
  Matrix<float> given, made, gradient;
};

struct LoopGradients {
  double divergence = 0;        // mean over the tokens behind the prompt, in nats
  std::vector<UnitRows> units;  // in the codec's order

  // What unit u adds to the divergence: half the product of gradient and error, which is exact
  // where the divergence is quadratic in the errors.
  double share(size_t u) const;
};

class CodecLoop {
 public:
  // The first half of the tokens is the prompt; the other is evaluated here behind an f16 cache.
  // `model` must outlive the result.
  static Result<CodecLoop> create(const host::Model& model, std::vector<int32_t> tokens,
                                  size_t sinks, int threads);

  // Errors: unsupported if layers are joined, and as of host::loss_gradients.
  Result<LoopGradients> gradients(const codec::Codec& codec) const;

  std::span<const int32_t> coded_tokens() const {
    return std::span(tokens_).subspan(sinks_, prompt_ - sinks_);
  }
  std::span<const int32_t> coded_positions() const {
    return std::span(positions_).subspan(sinks_, prompt_ - sinks_);
  }

 private:
  CodecLoop(const host::Model& model, std::vector<int32_t> tokens, size_t sinks, int threads);
  Result<double> evaluate(const host::ChangeRows& change, const host::TakeGradient& take) const;

  const host::Model* model_;
  std::vector<int32_t> tokens_, positions_;
  size_t prompt_, sinks_;
  int threads_;
  Matrix<float> log_probs_;  // behind the f16 cache, [tokens behind the prompt x vocabulary]
};

// Calls body(block's context of the unit, first row, rows) for a unit's rows in blocks as sessions
// have them, lowest layers first: what is handed back is kept for the units above.
class CodedBlocks {
 public:
  static Result<CodedBlocks> begin(const codec::Codec& codec, std::span<const int32_t> tokens,
                                   std::span<const int32_t> positions,
                                   const codec::Embeddings& embeddings);
  using Body = std::function<Result<Matrix<float>>(const codec::CodeContext& context, size_t first,
                                                   MatrixView<const float> rows)>;
  // The rows of a unit, of all blocks; `made` becomes what the body makes of them.
  Result<> code(const codec::UnitCoder& unit, MatrixView<const float> rows, MatrixView<float> made,
                const Body& body);

 private:
  explicit CodedBlocks(size_t block) : block_(block) {}
  size_t block_;
  std::vector<codec::BlockCoding> blocks_;
};

}  // namespace kvsplice::calibrate
