// The test descriptor of a stage: one function per stage folder, `StageCase <name>_case()`, in
// <name>_case.cc. Conformance tests, fuzzers and benches walk the generated list of all of them.
#pragma once

#include <string>
#include <vector>

#include "codec/stage.h"

namespace kvsplice::codec {

// Error of decode(encode(x)) allowed on well-behaved input (heads of correlated, near-Gaussian
// values with unequal variances, in part explained by tokens and by layers below), as rms error /
// rms of x. Both ends count, here and of bits, and narrow bounds are wanted: without the stage some
// variant must miss them, or nothing would tell that it does its work.
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
  // It has a state, of every variant; false for stages that learn nothing from calibration rows.
  bool learns = true;
  std::vector<std::string> optional_arrays;  // without which a state is sound, too
};

const std::vector<StageCase>& stage_cases();  // generated

}  // namespace kvsplice::codec
