// Texts are fitted as though they stood anywhere in a context: keys behind `rotate` look different
// farther on, and texts that a codec is fitted to are shorter than contexts it will see.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kvsplice::codec {

// Positions of texts one after the other, ascending in each; a new text begins where they do not
// ascend. Text i is moved by the fraction i x .618... mod 1 of what `context` leaves room for.
std::vector<int32_t> spread_positions(std::span<const int32_t> positions, size_t context);

}  // namespace kvsplice::codec
