// Prediction of rows from earlier rows of their block: those of tokens that are alike in the layers
// below. What no calibration text taught the predictors, a block's own tokens teach.
//
// Rows are made of innovations by a unit lower triangular matrix that depends on nothing but
// reconstructions of other units. So the decoder multiplies once, and only the encoder goes row by
// row. Keys and values of a layer have the same matrix.
#pragma once

#include <map>
#include <memory>

#include "codec/quantise/step/likeness.h"

namespace kvsplice::codec {

// The matrices of some rows, group by group.
struct Mixings {
  int layer = 0;
  std::vector<float> weights;
  std::vector<Group> groups;
  std::vector<Matrix<float>> of_group;  // see likeness.h
};

// The last that units of a block have shared, by the tokens of a group.
struct SharedMixings {
  std::map<size_t, std::shared_ptr<const Mixings>> last;
};

class Recall {
 public:
  struct Options {
    size_t tokens = 0;  // of a group; with less than two nothing is recalled
    int history = 1;    // layers below by which tokens are compared
    Kernel kernel;
  };

  Recall() = default;
  // weights: of squared distances, by source; without any it is off.
  explicit Recall(const Options& options, std::vector<float> weights = {})
      : options_(options), weights_(std::move(weights)) {}

  bool on() const { return !weights_.empty(); }

  // What tokens are compared by.
  std::vector<Reconstruction> sources(const CodeContext& context) const;
  Result<std::shared_ptr<const Mixings>> mixings(const CodeContext& context, size_t count) const;

  // Adds the array "weights" if it is on, or takes and checks it if it is there.
  void save(State& state) const;
  Result<> load(const State& state);

 private:
  Result<std::shared_ptr<const Mixings>> make(const CodeContext& context) const;

  Options options_;
  std::vector<float> weights_;
};

}  // namespace kvsplice::codec
