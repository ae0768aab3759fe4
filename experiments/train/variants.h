// The caches that are compared: models that differ in nothing else.
#pragma once

#include "experiments/train/options.h"
#include "train/lm/model.h"

namespace kvsplice::experiment::train {

namespace lm = kvsplice::train::lm;

struct Variant {
  std::string name;
  std::string control;  // what it has to beat, or equal
  lm::Shape shape;
  lm::CacheForm form;
  bool converted = false;  // from the trained `full`, in a fifth of the steps
};

// `full` first. Error usage for names that are not known.
Result<std::vector<Variant>> variants_of(const Options& options);

}  // namespace kvsplice::experiment::train
