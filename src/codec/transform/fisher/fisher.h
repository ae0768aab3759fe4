// What the stage and its fit share.
#pragma once

#include "codec/stage.h"

namespace kvsplice::codec {

struct FisherParams {
  double power = 0.25;
  double units = 0.25;
  double floor = 0.03;
  std::string cached = "off";

  bool off() const { return power == 0 && units == 0; }

  template <class V>
  void visit(V&& v) {
    v("power", power, "exponent of the information within heads; 0 leaves their shape alone",
      Range{0, 0.5});
    v("units", units, "exponent of the information of a whole unit: how far steps follow it",
      Range{0, 0.5});
    v("floor", floor, "added to a head's eigenvalues, relative to their mean over the unit",
      Range{1e-6, 1});
    v("cached", cached, "whether keys are as the cache holds them, behind `rotate`",
      Choice{"on", "off"});
  }
};

constexpr float kLargestHeadCode = 127;
constexpr double kMostUneven = 1000;  // the largest eigenvalue of a head over the smallest
constexpr double kMostExtreme = 1e9;  // an eigenvalue, and one over it

// A symmetric matrix of a head in small integers: the lower triangle, row by row.
struct HeadCodes {
  size_t dim = 0;
  float scale = 0;
  std::vector<float> codes;

  Matrix<double> matrix() const;
};

State state_of(const std::vector<HeadCodes>& heads);

}  // namespace kvsplice::codec
