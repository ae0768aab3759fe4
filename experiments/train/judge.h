// What a trained model predicts when its cache is stored in some way, and what that takes.
#pragma once

#include "experiments/train/ground.h"
#include "train/lm/model.h"

namespace kvsplice::experiment::train {

struct Judged {
  double bytes_per_token = 0;  // of all layers, as stored
  double nats_per_byte = 0;    // of text
};

// The ways to store: llama.cpp's types, not at all, and klt | step(delta=...) | range.
struct Store {
  std::string name;
  double delta = 0;  // of the codec's step; 0: a type
};
std::vector<Store> stores_of(const Options& options);

// A model with the codecs of its cache, which are fitted when they are first wanted.
class Judge {
 public:
  Judge(const Ground& ground, const lm::Model<float>& model, std::span<const float> parameters)
      : ground_(ground), model_(model), parameters_(parameters) {}

  // All layers read what is stored of themselves and of the layers below: the loop is closed.
  Result<Judged> judge(const JudgedText& text, const Store& store);

 private:
  Result<> gather();

  const Ground& ground_;
  const lm::Model<float>& model_;
  std::span<const float> parameters_;
  std::vector<Matrix<float>> rows_;  // of the calibration tokens, by layer
};

}  // namespace kvsplice::experiment::train
