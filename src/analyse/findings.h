// What the statistics say in words: the labels and the verdict of the NeRF-Attention study, and
// plain suggestions for a codec, each with the figures it rests on.
#pragma once

#include <string>
#include <vector>

#include "analyse/analysis.h"

namespace kvsplice::analyse {

const char* plain_name(host::Signal signal);  // "keys before RoPE", for sentences

const char* label(double value);  // GOOD above .5, CONCERNING above .2, else BAD

// Of keys as the cache stores them, means over layers: PROMISING, MIXED or CHALLENGING for codes
// computed from the position.
const char* verdict(double key_lag1, double key_low10);

std::vector<std::string> suggestions(const Analysis& analysis);

}  // namespace kvsplice::analyse
