// Discrete Fourier transform of any length, in double: radix 2 for powers of two, Bluestein's
// convolution for the rest, so that no length costs more than O(n log n).
#pragma once

#include <complex>
#include <cstddef>
#include <span>
#include <vector>

namespace kvsplice::functions {

class Dft {
 public:
  explicit Dft(size_t n);  // n >= 1

  size_t size() const { return n_; }
  // X_k = sum_t x_t exp(-2 pi i k t / n), in place. x: size n.
  void forward(std::span<std::complex<double>> x) const;

 private:
  void radix2(std::span<std::complex<double>> x) const;
  void bluestein(std::span<std::complex<double>> x) const;

  size_t n_;
  size_t padded_;                              // power of two the butterflies work on
  std::vector<std::complex<double>> twiddle_;  // exp(-2 pi i k / padded), size padded / 2
  std::vector<std::complex<double>> chirp_;    // exp(-pi i t^2 / n), empty for powers of two
  std::vector<std::complex<double>> kernel_;   // transform of the conjugate chirp, size padded
};

// |X_k|^2 of a real signal for k = 0 ... n/2. x: size dft.size().
std::vector<double> power_spectrum(const Dft& dft, std::span<const double> x);

}  // namespace kvsplice::functions
