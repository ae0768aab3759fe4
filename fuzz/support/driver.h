// What every fuzz driver says and uses, under libFuzzer and under replay/main.cc alike.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/bytes.h"
#include "core/random.h"
#include "solve/blas_core.h"

extern "C" {
// Called first, by both. OpenBLAS's oldest kernels read behind the ends of matrices.
[[gnu::used]] inline int LLVMFuzzerInitialize(int*, char*** arguments) {
  (void)kvsplice::correct_blas_core(*arguments).ok();  // where it cannot be done, all works
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
// Optional: changes an input in place by what the driver knows of its format.
size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed);
// Of the engine: changes some bytes.
size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);
}

namespace kvsplice::fuzz {

// Of mutated inputs this share must come as far as the driver calls accept(), or the driver fuzzes
// nothing but the first check. Every driver defines it.
extern const double least_accepted;

inline uint64_t accepted = 0;
inline void accept() { ++accepted; }

// What is wrong with the program, not with the input, ends the driver.
inline void demand(bool holds) {
  if (!holds) __builtin_trap();
}

// Some bytes changed, `growth` more at most.
inline Bytes mutate_bytes(ByteSpan bytes, size_t growth = 16) {
  Bytes changed(bytes.begin(), bytes.end());
  changed.resize(bytes.size() + growth);
  changed.resize(LLVMFuzzerMutate(changed.data(), bytes.size(), changed.size()));
  return changed;
}

// Hands a mutated input to the engine; one too long is cut.
inline size_t hand_over(ByteSpan bytes, uint8_t* data, size_t most) {
  const size_t size = std::min(bytes.size(), most);
  std::copy_n(bytes.begin(), size, data);
  return size;
}

// Where numbers of formats break.
inline uint64_t odd_number(Random& random) {
  const uint64_t power = uint64_t{1} << random.below(64);
  switch (random.below(4)) {
    case 0:
      return random.below(5);
    case 1:
      return power;
    case 2:
      return power - 1;
    default:
      return ~random.below(3);
  }
}

}  // namespace kvsplice::fuzz
