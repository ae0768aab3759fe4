// Fourier transform of many columns at once: plain pointers and sizes.
#pragma once

#include <cstddef>

namespace kvsplice::dct_kernel {

constexpr size_t kColumns = 16;  // columns of a strip; signals are complex

// Transform of length n, a power of two, of kColumns signals in place. re, im: [n x kColumns], rows
// in bit-reversed order; X_k = sum_t x_t exp(-2 pi i k t / n). cosine, sine: of 2 pi k / n for
// k < n / 2.
void fourier(size_t n, const float* cosine, const float* sine, float* re, float* im);

namespace reference {
void fourier(size_t n, const float* cosine, const float* sine, float* re, float* im);
}

}  // namespace kvsplice::dct_kernel
