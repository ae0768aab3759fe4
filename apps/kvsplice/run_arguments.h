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
  std::string memory;  // of a live cache
  std::string system, chat_template;
  bool conversation = false;
  bool lossless = false, ignore_end = false, quiet = false, no_special = false;
  std::optional<size_t> ctx, window;
  size_t checkpoint = 0;
  std::optional<int64_t> predict;  // tokens to generate, of each answer; -1: no limit
  session::PackOptions pack;
  host::ModelOptions host;
  host::SamplerOptions sampler;
  int threads = 0;

  size_t most_new() const {
    const int64_t most = predict.value_or(conversation ? -1 : 128);
    return most < 0 ? kMostTokens : size_t(most);
  }
  // Not just what the context holds.
  bool wants_all() const { return !memory.empty() || predict.value_or(0) >= 0; }
  bool live() const { return cache != "f16" && cache != "q8_0"; }
};

}  // namespace kvsplice::app
