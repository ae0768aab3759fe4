// Text to tokens, as much of it as is wanted (docs/texts.md).
#pragma once

#include <string_view>
#include <vector>

#include "host/model.h"

namespace kvsplice::host {

struct TextOptions {
  bool begins = true;        // BOS first, if the vocabulary adds one
  bool markers = false;      // "<|im_start|>" is one token, not some letters
  size_t most = size_t(-1);  // tokens wanted: no more of the text is read than they can need
};

// Never ends in an end token, whatever the vocabulary does: texts go on.
Result<std::vector<Token>> tokenize(const Model& model, std::string_view text,
                                    const TextOptions& options);

}  // namespace kvsplice::host
