// Sums of products of small integers: what a linear prediction is made of. Sixteen tokens at a
// time, exact in 32 bits, so that every machine gets the same sums.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvsplice::codec::exact {

constexpr size_t kTile = 16;  // tokens
constexpr int kLargestInput = 4095;

// sums[r * kTile + t] += sum over j of weights[r * stride + j] * input(j, t), for j in [0, 2 pairs)
// and r in [0, rows), with input(j, t) = tile[(j / 2) * 2 * kTile + 2 * t + j % 2].
// No sum of magnitudes may reach 2^31.
void weigh(const int16_t* tile, size_t pairs, const int16_t* weights, size_t stride, size_t rows,
           int32_t* sums);
void weigh_reference(const int16_t* tile, size_t pairs, const int16_t* weights, size_t stride,
                     size_t rows, int32_t* sums);

}  // namespace kvsplice::codec::exact
