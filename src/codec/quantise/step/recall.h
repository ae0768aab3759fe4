// Prediction of rows from earlier rows of their block: those of tokens that are alike in the layers
// below. What no calibration text taught the predictors, a block's own tokens teach.
//
// Rows are made of innovations by a unit lower triangular matrix that depends on nothing but
// reconstructions of other units. So the decoder multiplies once, and only the encoder goes row by
// row.
#pragma once

#include <memory>
#include <string>

#include "codec/quantise/step/likeness.h"

namespace kvsplice::codec {

class Recall {
 public:
  struct Options {
    size_t tokens = 0;  // of a group; with less than two nothing is recalled
    int history = 3;    // layers below by which tokens are compared
    Kernel kernel;
  };

  // The groups of some rows, and what is needed to mix them.
  class Groups {
   public:
    size_t size() const { return groups_.size(); }
    const Group& operator[](size_t i) const { return groups_[i]; }
    Result<Matrix<float>> mixing(size_t i) const;  // of group i, see likeness.h

   private:
    friend class Recall;
    std::vector<Group> groups_;
    std::vector<std::shared_ptr<const Matrix<float>>> squares_;  // by source
    std::vector<float> weights_;
    Kernel kernel_;
  };

  Recall() = default;
  explicit Recall(const Options& options) : options_(options) {}

  bool on() const { return !weights_.empty(); }
  // Turns it on, if there is something to compare tokens by, and off.
  void learn(const Context& context);
  void turn_off() { weights_.clear(); }

  Result<Groups> groups(const Context& context, size_t count) const;

  // Adds the array "weights" if it is on, or takes and checks it if it is there.
  void save(State& state) const;
  Result<> load(const State& state);

 private:
  std::span<const Reconstruction> sources(const Context& context) const;

  Options options_;
  std::vector<float> weights_;  // of squared distances, by source
};

}  // namespace kvsplice::codec
