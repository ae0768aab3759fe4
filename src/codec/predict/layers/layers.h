// What `layers` and its fit share.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "codec/stage.h"

namespace kvsplice::codec {

struct LayersParams {
  int history = 3;
  std::string embedding = "on";
  std::optional<int> directions;
  std::optional<int> rank;
  double noise = 4e-3;
  double ridge = 1e-2;

  template <class V>
  void visit(V&& v) {
    v("history", history, "layers below whose keys and values are read", Range{0, 64});
    v("embedding", embedding, "whether the token's embedding row is read", Choice{"on", "off"});
    v("directions", directions,
      "of the embedding that are read; all of it if not given, and by the lowest layer",
      Range{1, 1 << 14});
    v("rank", rank, "directions of the prediction that are kept; all if not given",
      Range{1, 1 << 16});
    v("noise", noise,
      "that rounding the weights may add, over the unit's variance; more makes the "
      "codec file smaller",
      Range{1e-9, 1});
    v("ridge", ridge, "added to the correlation matrix of what is read", Range{1e-9, 1});
  }
};

namespace layers {

// Rows that a unit is predicted from, under a name that is theirs alone in the codec.
struct Source {
  std::string name;
  MatrixView<const float> rows;
};

// Those that the unit of a context is predicted from, in the order of the predictor's inputs.
std::vector<Source> sources(const LayersParams& params, const CodeContext& context);

}  // namespace layers
}  // namespace kvsplice::codec
