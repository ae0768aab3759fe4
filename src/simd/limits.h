// What this machine can do at most, measured in a moment, with all threads. Speeds are printed
// beside these, so that a figure means something on another machine.
#pragma once

namespace kvsplice {

struct Limits {
  double read_gb_per_s;    // reading memory too large for the caches, 1e9 bytes
  double update_gb_per_s;  // reading it and writing back in place; counted once
  double fma_gflop_per_s;  // single precision, a multiply-add counts as two
};

Limits measure_limits();

}  // namespace kvsplice
