#include "experiments/storage/options.h"

#include <fmt/format.h>

#include <algorithm>

namespace kvsplice::experiment::storage {

namespace {

constexpr Range kFactors{1e-3, 1e3};

bool contains(const std::vector<std::string>& list, const std::string& name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

Error not_allowed(const char* key, const std::string& value, const std::string& legal) {
  return {ErrorKind::usage,
          fmt::format("storage.{} = '{}' is not allowed; legal: {}", key, value, legal)};
}

Result<> check_names(const char* key, const std::string& given,
                     const std::vector<std::string>& legal) {
  for (const auto& name : split(given)) {
    if (given == "all" || contains(legal, name)) continue;
    return not_allowed(key, name, some_of(legal));
  }
  return {};
}

Result<> check_numbers(const char* key, const std::string& given) {
  const auto parts = split(given);
  if (parts.empty()) return not_allowed(key, given, "numbers above 0, by commas");
  for (const auto& part : parts) {
    double number = 0;
    KVS_TRY(params_detail::parse(key, part, kFactors, number));
  }
  return {};
}

bool has_stage(const codec::PipelineText& pipeline, const std::string& name) {
  return std::any_of(pipeline.begin(), pipeline.end(),
                     [&](const codec::StageText& stage) { return stage.name == name; });
}

}  // namespace

const std::vector<std::string>& part_names() {
  static const std::vector<std::string> names = {"rates", "retrieval", "greedy", "calibration"};
  return names;
}

const std::vector<std::string>& method_names() {
  static const std::vector<std::string> names = {"klt",      "nearest",   "embedding",
                                                 "norecall", "unfocused", "uninformed",
                                                 "svd",      "siren",     "spline"};
  return names;
}

bool Options::wants(const std::string& part) const {
  return parts == "all" || contains(split(parts), part);
}

bool Options::compares(const std::string& method) const {
  return methods == "all" || contains(split(methods), method);
}

std::vector<double> numbers(const std::string& list) {
  std::vector<double> all;
  if (list == "none") return all;
  for (const auto& part : split(list)) {
    (void)params_detail::parse("factors", part, kFactors, all.emplace_back()).ok();
  }
  return all;
}

Options quick(Options options) {
  options.factors = "0.75,1.7";
  options.other_factors = "0.75";
  if (options.methods == "all") options.methods = "klt,nearest,svd";
  // Less to solve for: the size of the fit does not depend on the tokens.
  if (options.codec == Options().codec) {
    options.codec =
        "layers(history=1) | focus | fisher | klt(stored=packed) | step(delta=0.6,recall=256) | "
        "range";
  }
  options.calibration = std::min(options.calibration, 2048);
  options.sequence = std::min(options.sequence, 256);
  options.ctx = {std::min(options.ctx.front(), 256)};
  options.tokens = options.ctx.front();
  options.retrieval_tokens = {std::min(options.retrieval_tokens.front(), 512)};
  options.retrieval_questions = std::min(options.retrieval_questions, 2);
  options.retrieval_prompts = 1;
  options.greedy_prompts = std::min(options.greedy_prompts, 2);
  options.greedy_prefix = std::min(options.greedy_prefix, 128);
  options.greedy_tokens = std::min(options.greedy_tokens, 32);
  return options;
}

Result<> check(const Options& options) {
  KVS_TRY(check_names("parts", options.parts, part_names()));
  if (options.methods != "none") KVS_TRY(check_names("methods", options.methods, method_names()));
  if (options.factors != "none") KVS_TRY(check_numbers("factors", options.factors));
  KVS_TRY(check_numbers("other_factors", options.other_factors));
  if (split(options.text).empty()) return not_allowed("text", options.text, "files, by commas");
  if (split(options.test_text).empty()) {
    return not_allowed("test_text", options.test_text, "files, by commas");
  }
  KVS_ASSIGN(const auto text, codec::parse_codec(options.codec));
  for (const Kind kind : {Kind::key, Kind::value}) {
    for (const char* stage : {"layers", "step"}) {
      if (has_stage(text.of(kind), stage)) continue;
      return not_allowed("codec", options.codec,
                         fmt::format("pipelines with a stage '{}', which the study varies", stage));
    }
  }
  return {};
}

}  // namespace kvsplice::experiment::storage
