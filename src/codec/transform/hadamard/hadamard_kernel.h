// Orthonormal Walsh-Hadamard transform of short blocks, in place. Its own inverse.
#pragma once

#include <cstddef>

namespace kvsplice::codec {

// Transforms `blocks` consecutive blocks of `size` values each; size is a power of two.
// Every SIMD target gives the bits of hadamard_reference: the same sums in the same order.
void hadamard(float* x, size_t blocks, size_t size);
void hadamard_reference(float* x, size_t blocks, size_t size);

}  // namespace kvsplice::codec
