#include "functions/dct.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>
#include <complex>
#include <numbers>
#include <numeric>

#include "core/threads.h"
#include "functions/dct_kernel.h"
#include "linalg/linalg.h"

namespace kvsplice::functions {

namespace {

constexpr size_t kColumns = dct_kernel::kColumns;

std::vector<double> row_energies(MatrixView<const float> coefficients) {
  std::vector<double> energies(coefficients.rows);
  for (size_t k = 0; k < coefficients.rows; ++k) {
    const auto row = coefficients.row(k);
    std::array<double, 8> sums = {};  // apart, for no sum to wait for another
    size_t c = 0;
    for (; c + sums.size() <= row.size(); c += sums.size()) {
      for (size_t i = 0; i < sums.size(); ++i) sums[i] += double(row[c + i]) * row[c + i];
    }
    for (size_t i = 0; c + i < row.size(); ++i) sums[i] += double(row[c + i]) * row[c + i];
    energies[k] = std::accumulate(sums.begin(), sums.end(), 0.0);
  }
  return energies;
}

}  // namespace

Dct::Dct(size_t n) : n_(n), place_(n) {
  assert(n >= 1);
  // Even samples ascending, then odd ones descending: the Fourier transform of that order holds the
  // cosine transform.
  for (size_t t = 0; t < n; ++t) place_[t] = uint32_t(t % 2 == 0 ? t / 2 : n - 1 - t / 2);
  if (!std::has_single_bit(n)) {
    dft_.emplace(n);
    return;
  }
  for (size_t k = 0; k < n / 2; ++k) {
    const double angle = 2 * std::numbers::pi * double(k) / double(n);
    cosine_.push_back(float(std::cos(angle)));
    sine_.push_back(float(std::sin(angle)));
  }
  std::vector<uint32_t> reversed(n);
  for (size_t i = 1; i < n; ++i) {
    reversed[i] = uint32_t(reversed[i / 2] / 2 + (i % 2 ? n / 2 : 0));
  }
  for (uint32_t& row : place_) row = reversed[row];
}

void Dct::fourier(float* re, float* im) const {
  if (!dft_) return dct_kernel::fourier(n_, cosine_.data(), sine_.data(), re, im);
  std::vector<std::complex<double>> signal(n_);
  for (size_t c = 0; c < kColumns; ++c) {
    for (size_t t = 0; t < n_; ++t) signal[t] = {re[t * kColumns + c], im[t * kColumns + c]};
    dft_->forward(signal);
    for (size_t t = 0; t < n_; ++t) {
      re[t * kColumns + c] = float(signal[t].real());
      im[t * kColumns + c] = float(signal[t].imag());
    }
  }
}

// A strip carries two sets of columns, as real and imaginary parts; their transforms are the even
// and odd parts of its transform.
Matrix<float> Dct::forward(MatrixView<const float> x) const {
  assert(x.rows == n_);
  Matrix<float> out(n_, x.cols);
  parallel_chunks(x.cols, 2 * kColumns, [&](size_t first, size_t count) {
    const size_t reals = std::min(count, kColumns), imaginaries = count - reals;
    AlignedVector<float> re(n_ * kColumns), im(n_ * kColumns);
    for (size_t t = 0; t < n_; ++t) {
      const float* row = x.row(t).data() + first;
      std::copy_n(row, reals, &re[place_[t] * kColumns]);
      std::copy_n(row + reals, imaginaries, &im[place_[t] * kColumns]);
    }
    fourier(re.data(), im.data());
    for (size_t k = 0; k < n_; ++k) {
      const double angle = std::numbers::pi * double(k) / (2 * double(n_));
      const double scale = std::sqrt((k == 0 ? 0.25 : 0.5) / double(n_));
      const float c = float(scale * std::cos(angle)), s = float(scale * std::sin(angle));
      const size_t mirror = (n_ - k) % n_;
      const float *rk = &re[k * kColumns], *rm = &re[mirror * kColumns];
      const float *ik = &im[k * kColumns], *im_ = &im[mirror * kColumns];
      float* row = out.row(k).data() + first;
      for (size_t i = 0; i < reals; ++i) row[i] = c * (rk[i] + rm[i]) + s * (ik[i] - im_[i]);
      for (size_t i = 0; i < imaginaries; ++i) {
        row[reals + i] = c * (ik[i] + im_[i]) - s * (rk[i] - rm[i]);
      }
    }
  });
  return out;
}

Matrix<float> Dct::inverse(std::span<const uint32_t> kept,
                           MatrixView<const float> coefficients) const {
  assert(kept.size() == coefficients.rows);
  std::vector<float> wave(4 * n_);  // cos(pi m / 2n)
  for (size_t m = 0; m < wave.size(); ++m) {
    wave[m] = float(std::cos(std::numbers::pi * double(m) / (2 * double(n_))));
  }
  Matrix<float> basis(n_, kept.size());
  for (size_t t = 0; t < n_; ++t) {
    for (size_t i = 0; i < kept.size(); ++i) {
      const double scale = std::sqrt((kept[i] == 0 ? 1.0 : 2.0) / double(n_));
      basis(t, i) = float(scale) * wave[size_t(kept[i]) * (2 * t + 1) % wave.size()];
    }
  }
  Matrix<float> out(n_, coefficients.cols);
  gemm(Trans::no, Trans::no, 1.f, basis, coefficients, 0.f, out);
  return out;
}

std::vector<uint32_t> strongest_rows(MatrixView<const float> coefficients, size_t count) {
  const auto energies = row_energies(coefficients);
  std::vector<uint32_t> rows(energies.size());
  std::iota(rows.begin(), rows.end(), 0u);
  count = std::min(count, rows.size());
  std::nth_element(rows.begin(), rows.begin() + ptrdiff_t(count), rows.end(),
                   [&](uint32_t a, uint32_t b) {
                     return energies[a] != energies[b] ? energies[a] > energies[b] : a < b;
                   });
  rows.resize(count);
  std::sort(rows.begin(), rows.end());
  return rows;
}

size_t bandwidth(MatrixView<const float> coefficients, double share) {
  const auto energies = row_energies(coefficients);
  const double total = std::accumulate(energies.begin() + 1, energies.end(), 0.0);
  double sum = 0;
  for (size_t k = 1; k < energies.size(); ++k) {
    sum += energies[k];
    if (sum > 0 && sum >= share * total) return k;
  }
  return 0;
}

}  // namespace kvsplice::functions
