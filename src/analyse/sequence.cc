#include "analyse/sequence.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numbers>
#include <numeric>

namespace kvsplice::analyse {

namespace {

constexpr double kConstant = 1e-10;  // energy below which a dimension does not vary

std::vector<double> mean_free_column(MatrixView<const float> x, size_t column) {
  std::vector<double> signal(x.rows);
  for (size_t t = 0; t < x.rows; ++t) signal[t] = x(t, column);
  const double mean = std::accumulate(signal.begin(), signal.end(), 0.0) / double(x.rows);
  for (double& v : signal) v -= mean;
  return signal;
}

std::vector<double> hann(size_t n) {
  std::vector<double> window(n, 1.0);
  for (size_t t = 0; n > 1 && t < n; ++t) {
    window[t] = 0.5 - 0.5 * std::cos(2 * std::numbers::pi * double(t) / double(n - 1));
  }
  return window;
}

double sum(std::span<const double> x) { return std::accumulate(x.begin(), x.end(), 0.0); }

}  // namespace

std::vector<size_t> sampled_dimensions(size_t d) {
  std::vector<size_t> dims;
  const size_t stride = std::max<size_t>(1, d / 16);
  for (size_t i = 0; i < d && dims.size() < 16; i += stride) dims.push_back(i);
  return dims;
}

std::vector<double> autocorrelation(MatrixView<const float> x, size_t lags) {
  std::vector<double> result(lags + 1);
  const auto dims = sampled_dimensions(x.cols);
  for (size_t column : dims) {
    const auto signal = mean_free_column(x, column);
    const double energy = std::inner_product(signal.begin(), signal.end(), signal.begin(), 0.0);
    if (energy < kConstant) continue;
    for (size_t lag = 0; lag <= lags && lag < x.rows; ++lag) {
      const double product =
          std::inner_product(signal.begin() + lag, signal.end(), signal.begin(), 0.0);
      result[lag] += product / energy / double(dims.size());
    }
  }
  return result;
}

std::array<double, 4> low_frequency_energy(MatrixView<const float> x, const functions::Dft& dft) {
  assert(dft.size() == x.rows);
  std::array<double, 4> shares{};
  const auto window = hann(x.rows);
  const auto dims = sampled_dimensions(x.cols);
  for (size_t column : dims) {
    auto signal = mean_free_column(x, column);
    for (size_t t = 0; t < x.rows; ++t) signal[t] *= window[t];
    const auto power = power_spectrum(dft, signal);
    const double total = sum(power);
    for (size_t b = 0; b < shares.size(); ++b) {
      const size_t bins = std::max<size_t>(1, size_t(double(power.size()) * kLowBands[b]));
      const double low = sum(std::span(power).first(bins));
      shares[b] += (total < kConstant ? 1.0 : low / total) / double(dims.size());
    }
  }
  return shares;
}

double ar1_gain(double lag1) { return -0.5 * std::log2(1 - lag1 * lag1); }

}  // namespace kvsplice::analyse
