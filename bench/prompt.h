// A prompt for what is timed on a model.
#pragma once

#include <vector>

#include "core/random.h"
#include "host/model.h"

namespace kvsplice::bench {

// Any tokens do: the time hardly depends on which.
inline std::vector<host::Token> random_prompt(const host::Model& model, int count) {
  std::vector<host::Token> tokens(static_cast<size_t>(count));
  Random random(1);
  for (auto& t : tokens) {
    t = static_cast<host::Token>(random.uniform(0, model.shape().vocabulary - 1));
  }
  return tokens;
}

}  // namespace kvsplice::bench
