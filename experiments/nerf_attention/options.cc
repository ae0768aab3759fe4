#include "experiments/nerf_attention/options.h"

#include <fmt/format.h>

#include <algorithm>

namespace kvsplice::experiment::nerf {

namespace {

const std::vector<std::string> kParts = {"sweep", "profile", "scaling", "longer",
                                         "kinds", "loop",    "latency"};

std::vector<std::string> all_configs() {
  std::vector<std::string> names;
  for (const auto& preset : functions::kSirenPresets) names.emplace_back(preset.name);
  return names;
}

bool contains(const std::vector<std::string>& list, const std::string& name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

Result<> check(const char* key, const std::string& given, const std::vector<std::string>& legal) {
  for (const auto& name : split(given)) {
    if (given == "all" || contains(legal, name)) continue;
    return Error{ErrorKind::usage, fmt::format("nerf-attention.{} = '{}' is not allowed; legal: {}",
                                               key, name, some_of(legal))};
  }
  return {};
}

}  // namespace

std::vector<std::string> Options::networks() const {
  return configs == "all" ? all_configs() : split(configs);
}

bool Options::wants(const std::string& part) const {
  return parts == "all" || contains(split(parts), part);
}

functions::SirenOptions Options::siren(uint64_t seed) const {
  using Trainer = functions::SirenOptions::Trainer;
  functions::SirenOptions options;
  options.trainer = trainer == "adam" ? Trainer::adam : Trainer::varpro;
  if (epochs) options.epochs = size_t(*epochs);
  options.stop_below = stop;
  options.seed = seed;
  return options;
}

Options quick(Options options) {
  options.tokens = std::min(options.tokens, 512);
  options.seeds = 1;
  options.layers = "few";
  options.heads = "first";
  options.loop_ctx = std::min(options.loop_ctx, 256);
  options.loop_chunks = 1;
  if (options.configs == "all") options.configs = "small,medium";
  if (!options.epochs && options.trainer == "adam") options.epochs = 200;
  return options;
}

Result<> check(const Options& options) {
  KVS_TRY(check("configs", options.configs, all_configs()));
  KVS_TRY(check("parts", options.parts, kParts));
  if (contains(options.networks(), "medium")) return {};
  return Error{ErrorKind::usage, fmt::format("nerf-attention.configs = '{}' lacks medium, which "
                                             "everything is compared with",
                                             options.configs)};
}

}  // namespace kvsplice::experiment::nerf
