#include "functions/fourier.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/random.h"
#include "core/threads.h"

namespace kvsplice::functions {

std::vector<float> fourier_frequencies(size_t count, double band, uint64_t seed) {
  Random random(seed);
  std::vector<float> frequencies(count);
  for (size_t i = 0; i < count; ++i) {
    frequencies[i] = float(band * (double(i) + random.uniform()) / double(count));
  }
  return frequencies;
}

Matrix<float> fourier_features(std::span<const float> frequencies, size_t rows) {
  const size_t count = frequencies.size();
  Matrix<float> features(rows, 2 * count + 1);
  const double step = 2 * std::numbers::pi / double(std::max<size_t>(rows - 1, 1));
  parallel_chunks(rows, 64, [&](size_t first, size_t n) {
    for (size_t r = first; r < first + n; ++r) {
      const auto row = features.row(r);
      for (size_t i = 0; i < count; ++i) {
        const double angle = step * double(r) * double(frequencies[i]);
        row[i] = float(std::cos(angle));
        row[count + i] = float(std::sin(angle));
      }
      row[2 * count] = 1;
    }
  });
  return features;
}

}  // namespace kvsplice::functions
