// Fisher information through a codec: what errors in rows that it restores do to what the model
// predicts behind them, on their own and in rows that are predicted from them.
#pragma once

#include "calibrate/codec_loop.h"
#include "calibrate/information.h"

namespace kvsplice::calibrate {

struct LoopInformationOptions {
  size_t sinks = 4;
  int threads = 0;
  bool through = true;   // gradients go through predictions of upper layers
  bool restored = true;  // rows are those that the codec restores, not those of the f16 cache
};

Result<ModelInformation> loop_information(const host::Model& model, const codec::Codec& codec,
                                          std::span<const extract::Sequence> sequences,
                                          const LoopInformationOptions& options,
                                          const Progress& progress);

}  // namespace kvsplice::calibrate
