// NumPy's default generator, so that a seed means the same data here and there: SeedSequence ->
// PCG64 (XSL-RR), doubles by the 53-bit rule, normals by the 256-layer ziggurat. Checked against
// values NumPy prints. Every random choice of the program comes from here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kvsplice {

class Random {
 public:
  explicit Random(uint64_t seed);

  uint64_t next64();
  uint32_t next32();  // as NumPy: low half first, high half kept for the next call
  double uniform();   // [0, 1)
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  double normal();                          // mean 0, variance 1
  uint64_t below(uint64_t bound);           // [0, bound), as Generator.integers with 64-bit type
  void shuffle(std::span<uint32_t> items);  // as Generator.shuffle: Fisher-Yates from the end

 private:
  __extension__ typedef unsigned __int128 uint128;
  uint128 state_ = 0;
  uint128 increment_ = 0;
  uint32_t spare_ = 0;
  bool has_spare_ = false;
};

}  // namespace kvsplice
