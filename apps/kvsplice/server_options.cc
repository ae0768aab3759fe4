#include "server_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>

#include "number_option.h"

namespace kvsplice::app {

namespace {

constexpr const char* kGroup = "Of llama-server, handed on to it (all others behind --)";

// value: none for a flag, kInteger, alternatives, or what stands for a text in the help.
struct HandedOn {
  const char* names;
  const char* value;
  const char* help;
};
constexpr const char* kInteger = "integer";
constexpr const char* kTypes = "f32|f16|bf16|q8_0|q4_0|q4_1|iq4_nl|q5_0|q5_1";
constexpr HandedOn kHandedOn[] = {
    {"-c,--ctx-size,--ctx", kInteger, "tokens that all slots have room for; 0: as the model says"},
    {"--parallel", kInteger, "-np: slots; -1: as llama-server likes"},
    {"--kv-unified", "", "-kvu: slots share their room"},
    {"--n-gpu-layers,--gpu-layers", "N", "-ngl: layers on the GPU; auto, all"},
    {"--flash-attn", "on|off|auto", "-fa"},
    {"--cache-type-k", kTypes, "-ctk: of cached keys"},
    {"--cache-type-v", kTypes, "-ctv: of cached values"},
    {"--swa-full", "", "whole caches of layers with a sliding window"},
    {"-b,--batch-size", kInteger, "tokens that are handed to the model at once"},
    {"--ubatch-size", kInteger, "-ub: tokens that are evaluated at once"},
    {"--threads-batch", kInteger, "-tb: threads that read prompts"},
    {"--cpu-moe", "", "-cmoe: experts stay with the processor"},
    {"--n-cpu-moe", kInteger, "-ncmoe: first layers whose experts stay with the processor"},
    {"--override-tensor", "RULES", "-ot: where tensors lie"},
    {"--device", "LIST", "-dev"},
    {"--main-gpu", kInteger, "-mg"},
    {"--split-mode", "none|layer|row|tensor", "-sm: of several GPUs"},
    {"--tensor-split", "SHARES", "-ts: of GPUs"},
    {"--mlock", "", "keeps the model in memory"},
    {"--no-mmap", "", "reads the model whole"},
    {"--no-warmup", "", "no empty run at the start"},
    {"--lora", "FILE", "adapter; cells computed with it are kept apart"},
    {"--mmproj", "FILE", "-mm: projector of images and sound"},
    {"--model-draft", "FILE", "-md: model that drafts"},
    {"--rope-scaling", "none|linear|yarn", "cells of each kind are kept apart"},
    {"-n,--predict", kInteger, "tokens of an answer, where the request does not say"},
    {"--jinja", "", "chat templates by jinja"},
    {"--chat-template", "TEXT", "or the name of one of llama.cpp's"},
    {"--chat-template-file", "FILE", ""},
    {"--chat-template-kwargs", "JSON", ""},
    {"--reasoning-format", "none|auto|deepseek|deepseek-legacy", ""},
    {"-a,--alias", "NAME", "of the model, in answers"},
    {"--api-key-file", "FILE", "keys that clients need, one a line"},
    {"--metrics", "", "its own metrics, at /metrics"},
};

// Not to be given to the server that is started, as an option or by its variable.
struct Refused {
  std::vector<std::string> options;
  const char* variable;
  const char* instead;
};
const std::vector<Refused>& refused() {
  static const char* const kPlain = "nothing: it listens for the proxy alone";
  static const char* const kFile = "-m FILE.gguf before the --: the proxy reads the file, too";
  static const char* const kStored = "nothing: cells that were moved cannot be stored";
  static const std::vector<Refused> all = {
      {{"-m", "--model"}, "", "-m before the --"},
      {{"-mu", "--model-url", "-hf", "-hfr", "--hf-repo", "-hff", "--hf-file", "-dr",
        "--docker-repo"},
       "",
       kFile},
      {{"--models-dir", "--models-preset"}, "LLAMA_ARG_MODELS_DIR", kFile},
      {{"--host"}, "", "--host before the --"},
      {{"--port"}, "", "--port before the --"},
      {{"--api-prefix"}, "LLAMA_ARG_API_PREFIX", kPlain},
      {{"--ssl-key-file", "--ssl-cert-file"}, "LLAMA_ARG_SSL_KEY_FILE", kPlain},
      {{"--slot-save-path"}, "", "nothing: slots are saved in a folder of our own"},
      {{"-cram", "--cache-ram"}, "", "nothing: the store takes its place"},
      {{"--context-shift"}, "", kStored},
      {{"--cache-reuse"}, "", kStored},
      {{"--no-slots"}, "", "nothing: slots are what is saved and restored"},
  };
  return all;
}

// The value of an option of these names, the last if there are several.
std::optional<std::string> value_of(const std::vector<std::string>& arguments,
                                    const std::string& name) {
  std::optional<std::string> value;
  for (size_t i = 0; i + 1 < arguments.size(); ++i) {
    if (arguments[i] == name) value = arguments[i + 1];
  }
  return value;
}

std::optional<std::string> variable_of(const std::vector<std::string>& environment,
                                       const std::string& name) {
  for (const std::string& variable : environment) {
    if (variable.starts_with(name + '=')) return variable.substr(name.size() + 1);
  }
  return std::nullopt;
}

std::optional<std::string> given(const std::vector<std::string>& arguments, const std::string& name,
                                 const std::vector<std::string>& environment,
                                 const std::string& variable) {
  auto value = value_of(arguments, name);
  return value ? value : variable_of(environment, variable);
}

Result<std::string> first_key_in(const std::string& path) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line[0] != '#') return line;
  }
  return Error{ErrorKind::io, fmt::format("--api-key-file {}: no key can be read there", path)};
}

std::string say_instead(const std::string& option, const Refused& refused) {
  return fmt::format("{}: say {}", option, refused.instead);
}

// So that they are answered before the --, too. Help does not show them.
void refuse_options(CLI::App& app) {
  for (const Refused& one : refused()) {
    for (const std::string& option : one.options) {
      if (!option.starts_with("--") || app.get_option_no_throw(option) != nullptr) continue;
      app.add_option_function<std::string>(option,
                                           [option, &one](const std::string&) {
                                             throw CLI::ValidationError(say_instead(option, one));
                                           })
          ->expected(0, 1)
          ->group("");
    }
  }
}

}  // namespace

void add_server_options(CLI::App& app, std::vector<std::string>& arguments) {
  refuse_options(app);
  for (const HandedOn& one : kHandedOn) {
    const std::string names = one.names, value = one.value;
    const size_t at = names.find("--");
    const std::string name = names.substr(at, names.find(',', at) - at);
    CLI::Option* option = nullptr;
    if (value.empty()) {
      option = app.add_flag_callback(
          names, [&arguments, name] { arguments.push_back(name); }, one.help);
    } else {
      option = app.add_option_function<std::string>(
          names,
          [&arguments, name](const std::string& text) {
            arguments.insert(arguments.end(), {name, text});
          },
          one.help);
      const bool is_choice = value.find('|') != value.npos;
      if (is_choice) option->check(CLI::IsMember(CLI::detail::split(value, '|')));
      if (value == kInteger) option->check(CLI::TypeValidator<int64_t>(""));
      option->type_name(is_choice ? "" : value);
    }
    option->group(kGroup);
  }
}

Result<> check_server_options(const std::vector<std::string>& arguments,
                              const std::vector<std::string>& environment) {
  for (const Refused& one : refused()) {
    if (*one.variable != 0 && variable_of(environment, one.variable)) {
      return Error{ErrorKind::usage, say_instead(one.variable, one)};
    }
    const auto found = std::find_first_of(arguments.begin(), arguments.end(), one.options.begin(),
                                          one.options.end());
    if (found != arguments.end()) return Error{ErrorKind::usage, say_instead(*found, one)};
  }
  return {};
}

Result<std::string> server_key(const std::vector<std::string>& arguments,
                               const std::vector<std::string>& environment) {
  const auto keys = given(arguments, "--api-key", environment, "LLAMA_API_KEY");
  if (keys && !keys->empty()) return keys->substr(0, keys->find(','));
  const auto file = given(arguments, "--api-key-file", environment, "LLAMA_ARG_API_KEY_FILE");
  if (file) return first_key_in(*file);
  return std::string();
}

std::optional<double> sleeps_after(const std::vector<std::string>& arguments) {
  const auto seconds = value_of(arguments, "--sleep-idle-seconds");
  double value = 0;
  if (!seconds || !parse_number(*seconds, {0, 1e9}, value)) return std::nullopt;
  return value;
}

}  // namespace kvsplice::app
