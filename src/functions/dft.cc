#include "functions/dft.h"

#include <bit>
#include <cassert>
#include <numbers>

namespace kvsplice::functions {

namespace {

using Complex = std::complex<double>;

// exp(-2 pi i numerator / denominator); reducing first keeps large products exact.
Complex root(size_t numerator, size_t denominator) {
  const double turn = double(numerator % denominator) / double(denominator);
  return std::polar(1.0, -2 * std::numbers::pi * turn);
}

void conjugate(std::span<Complex> x) {
  for (Complex& v : x) v = std::conj(v);
}

}  // namespace

Dft::Dft(size_t n) : n_(n), padded_(std::has_single_bit(n) ? n : std::bit_ceil(2 * n - 1)) {
  assert(n >= 1);
  for (size_t k = 0; k < padded_ / 2; ++k) twiddle_.push_back(root(k, padded_));
  if (padded_ == n_) return;
  for (size_t t = 0; t < n_; ++t) chirp_.push_back(root(t * t, 2 * n_));
  kernel_.resize(padded_);
  kernel_[0] = std::conj(chirp_[0]);
  for (size_t t = 1; t < n_; ++t) kernel_[t] = kernel_[padded_ - t] = std::conj(chirp_[t]);
  radix2(kernel_);
}

void Dft::forward(std::span<Complex> x) const {
  assert(x.size() == n_);
  chirp_.empty() ? radix2(x) : bluestein(x);
}

void Dft::radix2(std::span<Complex> x) const {
  const size_t n = x.size();
  for (size_t i = 1, j = 0; i < n; ++i) {  // bit reversal
    size_t bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j |= bit;
    if (i < j) std::swap(x[i], x[j]);
  }
  for (size_t half = 1; half < n; half *= 2) {
    const size_t stride = n / (2 * half);
    for (size_t block = 0; block < n; block += 2 * half) {
      for (size_t k = 0; k < half; ++k) {
        const Complex odd = x[block + half + k] * twiddle_[k * stride];
        x[block + half + k] = x[block + k] - odd;
        x[block + k] += odd;
      }
    }
  }
}

// k t = (k^2 + t^2 - (k - t)^2) / 2 turns the sum into a convolution with a chirp.
void Dft::bluestein(std::span<Complex> x) const {
  std::vector<Complex> work(padded_);
  for (size_t t = 0; t < n_; ++t) work[t] = x[t] * chirp_[t];
  radix2(work);
  for (size_t k = 0; k < padded_; ++k) work[k] *= kernel_[k];
  conjugate(work);  // the inverse transform is the conjugate of the transform of the conjugate
  radix2(work);
  conjugate(work);
  for (size_t k = 0; k < n_; ++k) x[k] = work[k] * chirp_[k] / double(padded_);
}

std::vector<double> power_spectrum(const Dft& dft, std::span<const double> x) {
  std::vector<Complex> work(x.begin(), x.end());
  dft.forward(work);
  std::vector<double> power(x.size() / 2 + 1);
  for (size_t k = 0; k < power.size(); ++k) power[k] = std::norm(work[k]);
  return power;
}

}  // namespace kvsplice::functions
