#pragma once

#include "codec/predict/layers/moments_fit.h"
#include "codec/quantise/exact/exact.h"

namespace kvsplice::codec::exact {

// Learns from rows; `shared` keeps products of inputs, under their names.
Result<CellPredictor> fit_cell_predictor(const Inputs& inputs, const Side& target,
                                         std::span<const int32_t> positions, double ridge,
                                         layers::SharedProducts& shared);

}  // namespace kvsplice::codec::exact
