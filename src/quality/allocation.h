// How coarsely each layer's keys and values may be quantised: by what their error does to the
// model, measured in the loop, against what their bytes are.
#pragma once

#include <vector>

#include "codec/codec.h"
#include "quality/quality.h"

namespace kvsplice::quality {

// The keys or the values of consecutive layers, which get one scale of their steps.
struct Share {
  Kind kind = Kind::key;
  size_t first = 0, layers = 0;
  double kld = 0;    // above the noise floor, all other rows exact
  double bytes = 0;  // of encoded blocks, per token
  double scale = 1;  // of the steps, on top of those the codec has
};

struct AllocationOptions {
  size_t shares = 10;  // of a kind, at most
  Options loop;
};

// Measures the shares of a fitted codec and weighs them. With bytes R falling as step^-b and
// divergence c growing as step^a, the sum of c at a given sum of R is least where c / R is the same
// for all shares, so that each step is to be scaled by (R / c)^(1 / (a + b)); the scales' mean,
// weighted by bytes in logarithms, is 1. `blocks`: rows whose encoding is measured; `tokens`:
// sequences of loop.n_ctx, one behind the other, whose divergence is.
Result<std::vector<Share>> measure_shares(const host::Model& model, const codec::Codec& codec,
                                          const std::vector<KvBlock<float>>& blocks,
                                          std::span<const host::Token> tokens,
                                          const AllocationOptions& options,
                                          const Progress& progress);

// Sets `scale` of every share from its kld and bytes.
void weigh(std::vector<Share>& shares);

// Multiplies `scales`, one for each of the codec's units (or empty: all 1), by those of the shares.
void apply(const std::vector<Share>& shares, const codec::Codec& codec,
           std::vector<double>& scales);

}  // namespace kvsplice::quality
