// The factor of a pipeline's steps at which what it measures, a rising function of the factor,
// meets a target: by secants in logarithms, between the nearest points of both sides once there are
// such.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>

namespace kvsplice::calibrate {

class StepSearch {
 public:
  static constexpr double kTolerance = 0.02;  // of logarithms

  // `slope`: that of the logarithms, about, until two points tell.
  StepSearch(double target, double slope) : target_(std::log(target)), slope_(slope) {}

  double factor() const { return std::exp(x_); }
  bool met(double value) const { return std::abs(std::log(value) - target_) < kTolerance; }

  void learn(double value) {
    const Point point{x_, std::log(value) - target_};
    if (last_ && last_->x != point.x) {
      const double slope = (point.y - last_->y) / (point.x - last_->x);
      slope_ = std::clamp(slope, kLeastSlope, kMostSlope);
    }
    last_ = point;
    (point.y < 0 ? low_ : high_) = point;
    if (low_ && high_) {
      const double t = -low_->y / (high_->y - low_->y);
      x_ = low_->x + std::clamp(t, 0.1, 0.9) * (high_->x - low_->x);
    } else {
      x_ = std::clamp(point.x - point.y / slope_, -kMostLog, kMostLog);
    }
  }

  // For another function of about the same shape: begins where this search stands.
  StepSearch again() const {
    StepSearch other(*this);
    other.low_ = other.high_ = other.last_ = std::nullopt;
    return other;
  }

 private:
  static constexpr double kLeastSlope = 0.2, kMostSlope = 5;
  static constexpr double kMostLog = 4.16;  // a factor of 64 either way
  struct Point {
    double x, y;
  };
  double target_, slope_, x_ = 0;
  std::optional<Point> low_, high_, last_;
};

}  // namespace kvsplice::calibrate
