// What `kvsplice run` was asked.
#pragma once

#include <optional>
#include <string>

#include "host/sampler.h"
#include "session/session.h"

namespace kvsplice::app {

struct RunArguments {
  static constexpr size_t kMostTokens = size_t{1} << 28;

  std::string model, prompt, prompt_file, load, load_codec, save, codec;
  std::string cache = "f16", states = "exact";
  bool lossless = false, ignore_end = false, quiet = false, no_special = false;
  std::optional<size_t> ctx;
  size_t checkpoint = 0;
  int64_t predict = 128;  // -1: as many as the context holds
  session::PackOptions pack;
  host::ModelOptions host;
  host::SamplerOptions sampler;
  int threads = 0;

  size_t most_new() const { return predict < 0 ? kMostTokens : size_t(predict); }
  bool live() const { return cache != "f16" && cache != "q8_0"; }
};

}  // namespace kvsplice::app
