// The test descriptor of a stage: one function per stage folder, `StageCase <name>_case()`, in
// <name>_case.cc. Conformance tests, fuzzers and benches walk the generated list of all of them.
#pragma once

#include <string>
#include <vector>

#include "codec/stage.h"

namespace kvsplice::codec {

// Error of decode(encode(x)) allowed on well-behaved input (heads of correlated, near-Gaussian
// values with unequal variances), as rms error / rms of x. Both ends count: a stage that does
// better than `least` has been skipped.
struct ErrorBounds {
  double least = 0;
  double most = 0;
};

struct StageVariant {
  std::string pipeline;  // pipeline text with the stage under test, e.g. "klt | step(delta=0.5)"
  ErrorBounds error;
  double least_bits = 0;  // bounds on real bits per value, side data counted, at 256 rows
  double most_bits = 1e9;
};

struct StageCase {
  std::string stage;
  std::vector<StageVariant> variants;
  // encode(decode(encode(x))) == encode(x) to the byte; false only for stages whose arithmetic
  // rounds (say why in the case file): then the second decode must equal the first to 1e-4.
  bool idempotent = true;
};

const std::vector<StageCase>& stage_cases();  // generated

}  // namespace kvsplice::codec
