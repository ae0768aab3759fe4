// The pipeline that is fitted if nobody names one: as much of it as a model's width leaves fast.
#pragma once

#include <string>

#include "core/params.h"
#include "core/shape.h"

namespace kvsplice::calibrate {

// Of models whose rows are predicted within the budget.
inline constexpr char kDefaultPipeline[] =
    "layers(history=3) | focus | fisher | klt(stored=packed) | step(delta=0.6,recall=512) | range";

// Values that a row may be predicted from: each takes one multiplication for every value of the
// row, and a weight in the codec file.
inline constexpr size_t kDecodeBudget = 3584;
inline constexpr Range kDecodeBudgets{64, 1 << 20};

// Reads fewer layers below, then none, until every unit's prediction keeps to the budget. The
// lowest layer's may be above it: it reads whole embeddings.
std::string default_pipeline(const ModelShape& shape, size_t decode_budget = kDecodeBudget);

// What `calibrate --live` fits: the form that attention reads as it is (src/live/form.h). Heads are
// mixed as far as they have no more than 256 columns together, since a query meets the columns of
// all heads that its own is mixed with. Keys are fitted for contexts of so many tokens.
inline constexpr size_t kLiveContext = 8192;  // if nobody says how long contexts will be
std::string live_pipeline(const ModelShape& shape, size_t context);

}  // namespace kvsplice::calibrate
