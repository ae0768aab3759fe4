// How journals keep what has been measured in the loop.
#pragma once

#include "quality/quality.h"

namespace kvsplice::experiment {

template <class Outcome, class F>  // quality::Outcome, const or not
void visit_outcome(Outcome& o, F&& f) {
  f("cache", o.cache), f("pipeline", o.pipeline), f("step", o.step);
  f("bits_per_value", o.bits_per_value), f("entropy_bits_per_value", o.entropy_bits_per_value);
  f("ratio", o.ratio), f("ratio_with_window", o.ratio_with_window);
  f("ppl", o.ppl), f("ppl_error", o.ppl_error);
  f("kld_mean", o.kld_mean), f("kld_median", o.kld_median), f("kld_p99", o.kld_p99);
  f("top1_percent", o.top1_percent), f("rms_dp_percent", o.rms_dp_percent);
  f("tokens_per_second", o.tokens_per_second);
  f("encode_us_per_token", o.encode_us_per_token), f("decode_us_per_token", o.decode_us_per_token);
  f("scored", o.scored), f("codec_file_bytes", o.codec_file_bytes);
}

}  // namespace kvsplice::experiment
