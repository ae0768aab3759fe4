// Second moments of what a unit is predicted from and of the unit itself, for least squares. Units
// of one codec share most of their inputs, so the products of two inputs are kept from unit to unit
// while a codec is being fitted.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "codec/predict/layers/layers.h"

namespace kvsplice::codec::layers {

// Every eighth block of rows is held out, to measure what a prediction is worth on other rows.
enum Part { kLearn = 0, kHeld = 1 };

// Sums over the rows of a part, about the means of all rows.
struct Products {
  Matrix<double> of[2];  // by part
};

struct Centred {
  std::vector<double> mean;
  Matrix<float> rows;  // less their mean
};

// Sources about their means, and products of pairs of them, by their names.
struct SharedProducts {
  std::map<std::string, Centred> sources;
  std::map<std::pair<std::string, std::string>, Products> products;
};

struct Moments {
  std::vector<double> input_mean, target_mean;
  Products inputs;   // [inputs x inputs]
  Products cross;    // [inputs x targets]
  Products targets;  // [targets x targets]
  size_t rows[2] = {0, 0};
};

// Moments of the sources, side by side, and of the target. Products of two sources are looked up in
// `shared` and entered there; those of sources not given any more are dropped.
Moments measure(const std::vector<Source>& sources, MatrixView<const float> target,
                SharedProducts& shared);

}  // namespace kvsplice::codec::layers
