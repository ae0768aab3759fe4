#include "codec/pipeline.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/errors.h"
#include "core/limits.h"

namespace kvsplice::codec {

namespace {

const std::vector<std::string> kGroups = {"predict", "warp", "transform", "quantise", "entropy"};

std::string_view trim(std::string_view text) {
  const char* space = " \t\r\n";
  const size_t first = text.find_first_not_of(space);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(space) - first + 1);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t at = 0;;) {
    const size_t end = text.find(separator, at);
    parts.push_back(trim(text.substr(at, end - at)));
    if (end == text.npos) return parts;
    at = end + 1;
  }
}

Result<StageText> parse_stage(std::string_view text) {
  const size_t open = text.find('(');
  StageText stage{std::string(trim(text.substr(0, open))), {}};
  if (stage.name.empty()) return usage_error(fmt::format("a stage has no name in '{}'", text));
  if (open == text.npos) return stage;
  if (text.back() != ')') return usage_error(fmt::format("'{}' lacks its closing ')'", text));
  const std::string_view inside = trim(text.substr(open + 1, text.size() - open - 2));
  if (inside.empty()) return stage;
  for (std::string_view pair : split(inside, ',')) {
    const size_t equals = pair.find('=');
    if (equals == pair.npos) {
      return usage_error(fmt::format("'{}' in '{}' is not of the form key=value", pair, text));
    }
    const std::string key(trim(pair.substr(0, equals)));
    for (const auto& [seen, value] : stage.params) {
      if (seen == key) return usage_error(fmt::format("'{}' is given twice in '{}'", key, text));
    }
    stage.params.emplace_back(key, trim(pair.substr(equals + 1)));
  }
  return stage;
}

Error unknown_stage(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& info : stage_table()) {
    names.push_back(info.name);
    names.insert(names.end(), info.aliases.begin(), info.aliases.end());
  }
  return usage_error(
      fmt::format("no stage is called '{}'; legal: {}", name, fmt::join(names, ", ")));
}

size_t group_index(const StageInfo& info) {
  return std::find(kGroups.begin(), kGroups.end(), info.group) - kGroups.begin();
}

Result<> check_order(const PipelineText& pipeline) {
  size_t last = 0;
  const StageInfo* before = nullptr;
  for (const auto& stage : pipeline) {
    const StageInfo* info = find_stage(stage.name);
    const size_t group = group_index(*info);
    const bool quantised = before != nullptr && before->group == "quantise";
    // Stages that work on numbers may stand in any order; a quantiser ends them.
    if (info->group == "entropy" && !quantised) {
      return usage_error(
          fmt::format("'{}' codes integers: it must follow a quantise stage", stage.name));
    }
    if (last >= 3 && group <= last) {
      return usage_error(fmt::format("'{}' ({}) cannot follow '{}' ({})", stage.name, info->group,
                                     before->name, before->group));
    }
    last = group;
    before = info;
  }
  return {};
}

Result<PipelineText> parse_pipeline(std::string_view text) {
  PipelineText pipeline;
  const auto stages = size_t(std::count(text.begin(), text.end(), '|')) + 1;
  if (stages > limits::kStages) {
    return usage_error(fmt::format("a pipeline of {} stages; at most {}", stages, limits::kStages));
  }
  for (std::string_view part : split(text, '|')) {
    if (part.empty()) return usage_error(fmt::format("an empty stage in '{}'", trim(text)));
    KVS_ASSIGN(StageText stage, parse_stage(part));
    const StageInfo* info = find_stage(stage.name);
    if (info == nullptr) return unknown_stage(stage.name);
    auto made = info->make(stage.params, info->version);
    if (!made.ok()) return made.error();
    pipeline.push_back(std::move(stage));
  }
  KVS_TRY(check_order(pipeline));
  return pipeline;
}

// "k" or "v" if the text starts with that letter and a colon.
char kind_letter(std::string_view text) {
  const size_t colon = text.find(':');
  const std::string_view head = colon == text.npos ? "" : trim(text.substr(0, colon));
  return head == "k" || head == "v" ? head[0] : 0;
}

}  // namespace

const StageInfo* find_stage(std::string_view name) {
  for (const auto& info : stage_table()) {
    if (info.name == name) return &info;
    for (const auto& alias : info.aliases) {
      if (alias == name) return &info;
    }
  }
  return nullptr;
}

Result<CodecText> parse_codec(std::string_view text) {
  CodecText codec;
  if (text.size() > limits::kPipelineText) {
    return usage_error(
        fmt::format("a pipeline of {} characters; at most {}", text.size(), limits::kPipelineText));
  }
  if (kind_letter(text) == 0) {
    KVS_ASSIGN(codec.key, parse_pipeline(text));
    codec.value = codec.key;
    return codec;
  }
  const auto parts = split(text, ';');
  if (parts.size() != 2) {
    return usage_error(fmt::format("'{}': give both kinds as 'k: ... ; v: ...'", trim(text)));
  }
  for (std::string_view part : parts) {
    const char letter = kind_letter(part);
    PipelineText& side = letter == 'k' ? codec.key : codec.value;
    if (letter == 0 || !side.empty()) {
      return usage_error(
          fmt::format("'{}': give both kinds once, as 'k: ... ; v: ...'", trim(text)));
    }
    KVS_ASSIGN(side, parse_pipeline(part.substr(part.find(':') + 1)));
  }
  return codec;
}

std::string print(const PipelineText& text) {
  std::vector<std::string> stages;
  for (const auto& stage : text) {
    std::vector<std::string> pairs;
    for (const auto& [key, value] : stage.params) pairs.push_back(key + "=" + value);
    stages.push_back(pairs.empty() ? stage.name
                                   : fmt::format("{}({})", stage.name, fmt::join(pairs, ",")));
  }
  return fmt::format("{}", fmt::join(stages, " | "));
}

std::string print(const CodecText& text) {
  if (text.key == text.value) return print(text.key);
  return fmt::format("k: {} ; v: {}", print(text.key), print(text.value));
}

CodecText without(const std::string& stage, CodecText text) {
  for (PipelineText* pipeline : {&text.key, &text.value}) {
    std::erase_if(*pipeline, [&](const StageText& s) { return s.name == stage; });
  }
  return text;
}

namespace {

StageInfo::Traits merged(const StageInfo::Traits& a, const StageInfo::Traits& b) {
  StageInfo::Traits both;
  both.joins_layers = a.joins_layers || b.joins_layers;
  both.history = std::max(a.history, b.history);
  both.directions = std::max(a.directions, b.directions);
  both.embeddings = a.embeddings || b.embeddings;
  both.attention = a.attention || b.attention;
  both.information = a.information || b.information;
  both.whole_block = a.whole_block || b.whole_block;
  both.reach = std::max(a.reach, b.reach);
  both.cells = a.cells || b.cells;
  both.context = std::max(a.context, b.context);
  return both;
}

}  // namespace

Pipeline pipeline_of(PipelineText text, std::span<const int32_t> versions) {
  Pipeline made;
  for (size_t s = 0; s < text.size(); ++s) {
    const StageInfo* info = find_stage(text[s].name);
    made.stages.push_back(info);
    made.versions.push_back(versions.empty() ? info->version : versions[s]);
    made.traits = merged(made.traits, info->traits(text[s].params));
    made.quantises |= info->group == "quantise";
    made.entropy_coded |= info->group == "entropy";
  }
  made.text = std::move(text);
  return made;
}

StageInfo::Traits traits_of(const CodecText& text) {
  return merged(pipeline_of(text.key).traits, pipeline_of(text.value).traits);
}

}  // namespace kvsplice::codec
