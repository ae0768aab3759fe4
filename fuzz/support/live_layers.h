// A live cache of a tiny made-up model, whose second layer has a window.
#pragma once

#include "live/saved_cache.h"

namespace kvsplice::fuzz {

const live::LiveForm& live_form();
// With rows for so many tokens.
Result<std::vector<live::LayerCache>> live_layers(size_t tokens);

}  // namespace kvsplice::fuzz
