#pragma once

#include "codec/quantise/step/recall.h"

namespace kvsplice::codec {

// Recall that is on if there is something to compare tokens by.
Recall learn_recall(const Recall::Options& options, const CodeContext& context);

}  // namespace kvsplice::codec
