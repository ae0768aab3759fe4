// What the study shows.
#pragma once

#include "experiments/storage/measured.h"
#include "experiments/storage/prompts.h"
#include "report/figure.h"
#include "report/table.h"

namespace kvsplice::experiment::storage {

// Parts that were not done are empty.
struct Study {
  Options options;
  double f16_bytes_per_token = 0;
  std::vector<Measured> rates, calibration;
  std::vector<Restored> retrieval, greedy;
};

// The codec's or another method's ratio at a divergence of one of llama.cpp's caches.
struct Goal {
  std::string text;
  int ctx;
  std::string at;  // "q4_0", "half of q4_0", "q8_0"
  double kld;
  std::string method;
  std::optional<double> ratio;  // nothing: not reached
  bool beyond;                  // the largest ratio measured, the method may go further
  double wanted;                // the product's goal, of the codec under study
};
std::vector<Goal> goals_of(const Study& study);

std::vector<report::Table> tables(const Study& study);
std::vector<report::Figure> figures(const Study& study);
std::vector<std::string> findings(const Study& study);

}  // namespace kvsplice::experiment::storage
