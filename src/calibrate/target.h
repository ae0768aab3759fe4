// Calibration to a target: fits with the steps scaled until sequences kept out of the fit meet it.
#pragma once

#include "calibrate/calibrate.h"
#include "calibrate/calibration_data.h"

namespace kvsplice::calibrate {

// With a target every eighth sequence, by number, is kept out of the fit.
inline constexpr size_t kHeldEvery = 8;
inline bool is_held(size_t sequence) { return sequence % kHeldEvery == kHeldEvery - 1; }

// The pipeline with every step scaled.
codec::CodecText scale_steps(codec::CodecText text, double factor);

// Errors: two targets, one that is no number above 0, a pipeline without a step to scale.
Result<> check_target(const CalibrateOptions& options, const codec::CodecText& text);

// A ratio is first met by fits to a part of the rows, then by fits to all of them: one or two, as a
// rule. Errors: out of reach (says what was reached).
Result<Calibration> meet_target(const host::Model& model, const codec::CodecText& text,
                                const CalibrationData& data, const CalibrateOptions& options,
                                const Progress& progress);

}  // namespace kvsplice::calibrate
