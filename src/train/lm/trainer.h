// Trains a small language model by AdamW: warm-up, cosine, clipped gradients. A batch is cut into
// lanes of a few sequences, one thread each, whose gradients are added in order: results do not
// depend on how many threads there are.
#pragma once

#include "core/progress.h"
#include "train/lm/model.h"

namespace kvsplice::train::lm {

struct TrainOptions {
  size_t steps = 100;
  size_t batch = 16;     // sequences
  double rate = 3e-3;    // the largest
  double warm_up = 0.1;  // share of the steps; then a cosine down to a tenth
  double decay = 0.1;
  double clip = 1;    // largest norm of a gradient
  uint64_t seed = 0;  // of the order of sequences, and of noise
};

// Sequences of length + 1 tokens, one behind the other, in the order of `seed`: all are used
// before one comes again.
class Sequences {
 public:
  Sequences(std::span<const Token> tokens, size_t length, uint64_t seed);
  size_t count() const { return order_.size(); }
  MatrixView<const Token> all() const { return {tokens_.data(), count(), length_ + 1}; }
  Matrix<Token> batch(size_t number, size_t size) const;

 private:
  std::span<const Token> tokens_;
  size_t length_;
  std::vector<uint32_t> order_;
};

// From `parameters`. Returns the mean loss of the last tenth of the steps. Error numeric if a loss
// is no number.
Result<double> train(const Model<float>& model, const Sequences& data, const TrainOptions& options,
                     std::vector<float>& parameters, const Progress& progress);

// Sequences whose tokens fill a lane, at least one.
size_t lane_of(const Shape& shape);

// `full` without its wider cache: keys and values go through the latent of `model` that loses
// least of their weights.
std::vector<float> convert(const Model<float>& full, std::span<const float> parameters,
                           const Model<float>& model);

}  // namespace kvsplice::train::lm
