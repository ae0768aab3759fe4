#include "evaluate/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>

namespace kvsplice::evaluate {

double cosine(std::span<const float> a, std::span<const float> b) {
  assert(a.size() == b.size());
  double aa = 0, bb = 0, ab = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    aa += double(a[i]) * a[i];
    bb += double(b[i]) * b[i];
    ab += double(a[i]) * b[i];
  }
  if (aa == 0 && bb == 0) return 1;
  if (aa == 0 || bb == 0) return 0;
  return std::clamp(ab / std::sqrt(aa * bb), -1.0, 1.0);
}

void ErrorSums::add(MatrixView<const float> original, MatrixView<const float> decoded) {
  assert(original.rows == decoded.rows && original.cols == decoded.cols);
  for (size_t r = 0; r < original.rows; ++r) {
    for (size_t c = 0; c < original.cols; ++c) {
      const double x = original(r, c), difference = decoded(r, c) - x;
      error += difference * difference;
      energy += x * x;
    }
  }
  count += original.rows * original.cols;
}

ErrorSums& ErrorSums::operator+=(const ErrorSums& other) {
  count += other.count;
  error += other.error;
  energy += other.energy;
  return *this;
}

double ErrorSums::relative_rms() const { return error == 0 ? 0 : std::sqrt(error / energy); }

Result<> VectorErrors::add(MatrixView<const float> original, MatrixView<const float> decoded,
                           size_t head_dim) {
  assert(original.cols % head_dim == 0);
  for (size_t r = 0; r < decoded.rows; ++r) {
    for (size_t c = 0; c < decoded.cols; ++c) {
      if (!std::isfinite(decoded(r, c))) {
        return Error{ErrorKind::numeric,
                     fmt::format("decoded value {} at row {}, column {}", decoded(r, c), r, c)};
      }
    }
    for (size_t first = 0; first < original.cols; first += head_dim) {
      const double value =
          cosine(original.row(r).subspan(first, head_dim), decoded.row(r).subspan(first, head_dim));
      below_ += 1 - value;
      below_squares_ += (1 - value) * (1 - value);
      least_ = std::min(least_, value);
      ++vectors_;
    }
  }
  sums_.add(original, decoded);
  return {};
}

VectorErrors& VectorErrors::operator+=(const VectorErrors& other) {
  vectors_ += other.vectors_;
  below_ += other.below_;
  below_squares_ += other.below_squares_;
  least_ = std::min(least_, other.least_);
  sums_ += other.sums_;
  return *this;
}

double VectorErrors::cosine_mean() const {
  return vectors_ > 0 ? 1 - below_ / double(vectors_) : 0;
}

double VectorErrors::cosine_std() const {
  if (vectors_ == 0) return 0;
  const double mean = below_ / double(vectors_);
  return std::sqrt(std::max(0.0, below_squares_ / double(vectors_) - mean * mean));
}

}  // namespace kvsplice::evaluate
