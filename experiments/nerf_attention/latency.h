// Computing against reading: time of a network's forward pass, and of attention without it, beside
// the time that reading the cache takes.
#pragma once

#include <string>
#include <vector>

#include "core/shape.h"

namespace kvsplice::experiment::nerf {

// Data-sheet bandwidths the seed compares with, 1e9 bytes a second.
inline constexpr double kRtx4060 = 272, kH100 = 3350;

struct Forward {
  std::string config;
  size_t tokens;
  double forward_us;           // all positions of one head's keys, median of the runs
  double read_us;              // n d 2 bytes at the bandwidth measured here
  double rtx4060_us, h100_us;  // at theirs
};

// What one attention step of one layer costs by each way to have its keys and values.
struct Attention {
  std::string method;  // read f16, networks evaluated, absorbed, absorbed and shared, ...
  std::string config;
  size_t tokens;
  double us;                     // measured here
  double read_us;                // reading the layer's f16 keys and values here
  double h100_us, h100_read_us;  // roofline, see latency.cc
};

struct Latency {
  double read_gb_per_s = 0, fma_gflop_per_s = 0;
  std::vector<Forward> forward;
  std::vector<Attention> attention;
};

Latency measure_latency(const LayerShape& layer, int query_heads, size_t tokens,
                        const std::vector<std::string>& configs, bool quick);

}  // namespace kvsplice::experiment::nerf
