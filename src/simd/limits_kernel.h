// Loops that do nothing but pass over memory or multiply and add, to measure what a thread can at
// most.
#pragma once

#include <cstddef>

namespace kvsplice {

// Sum of n values; n is a multiple of 512 and `x` starts on a cache line.
float sum_values(const float* x, size_t n);

// Changes the sign of n values in place; n and `x` as above.
void negate_values(float* x, size_t n);

// `rounds` times value = value * factor + term, for each of the fma_values() values of `state`,
// which starts on a cache line. They stay in registers and do not wait for each other.
void fma_rounds(size_t rounds, float factor, float term, float* state);
size_t fma_values();

const char* simd_target_name();  // what kernels run at, such as "AVX2"

}  // namespace kvsplice
