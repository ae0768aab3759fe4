#include "serve/request.h"

#include <algorithm>
#include <array>

namespace kvsplice::serve {

namespace {

struct Route {
  const char* path;
  Api api;
};
// Of llama-server; /infill takes its prompt apart in a way of its own.
constexpr std::array kRoutes = {
    Route{"/completion", Api::completion},     Route{"/completions", Api::completion},
    Route{"/v1/completions", Api::completion}, Route{"/chat/completions", Api::chat},
    Route{"/v1/chat/completions", Api::chat},  Route{"/responses", Api::responses},
    Route{"/v1/responses", Api::responses},    Route{"/v1/messages", Api::messages},
};

bool flag(const Json& body, const char* key) {
  const auto at = body.find(key);
  return at != body.end() && at->is_boolean() && at->get<bool>();
}

// Whether a value anywhere within has one of the types by which media are named.
bool names_media(const Json& value) {
  if (value.is_object()) {
    const std::string type = text_at(value, "type");
    for (const char* media : {"image_url", "input_image", "image", "input_audio", "audio_url",
                              "video_url", "input_video", "document"}) {
      if (type == media) return true;
    }
  }
  if (!value.is_structured()) return false;
  return std::any_of(value.begin(), value.end(), [](const Json& one) { return names_media(one); });
}

}  // namespace

const char* name(Api api) {
  switch (api) {
    case Api::none:
      return "other";
    case Api::completion:
      return "completion";
    case Api::chat:
      return "chat";
    case Api::responses:
      return "responses";
    case Api::messages:
      return "messages";
  }
  return "other";
}

Api api_of(const std::string& method, const std::string& path) {
  if (method != "POST") return Api::none;
  for (const Route& route : kRoutes) {
    if (path == route.path) return route.api;
  }
  return Api::none;
}

std::optional<Asked> understand(Api api, const std::string& body) {
  auto value = parse_json(body);
  if (!value || !value->is_object()) return std::nullopt;
  Asked asked;
  asked.api = api;
  asked.body = std::move(*value);
  asked.stream = flag(asked.body, "stream");
  asked.several =
      number_at(asked.body, "n").value_or(1) > 1 || number_at(asked.body, "n_cmpl").value_or(1) > 1;
  const auto lora = asked.body.find("lora");
  asked.adapters = lora != asked.body.end() && !lora->empty();
  for (const char* where : {"messages", "input", "prompt"}) {
    const auto at = asked.body.find(where);
    if (at != asked.body.end() && names_media(*at)) asked.media = true;
  }
  if (const auto slot = number_at(asked.body, "id_slot"); slot && *slot >= 0 && *slot < 1 << 20) {
    asked.slot = static_cast<int>(*slot);
  }
  asked.salt = text_at(asked.body, "cache_salt");
  return asked;
}

namespace {

Error unknown_prompt(const char* what) { return {ErrorKind::unsupported, what}; }

// A prompt is a text, a list of tokens, or a list of both; lists of several prompts are not one.
Result<std::vector<int32_t>> tokens_of_prompt(const Upstream& upstream, const Json& body) {
  const auto prompt = body.find("prompt");
  if (prompt == body.end()) return unknown_prompt("no prompt");
  if (prompt->is_string()) return upstream.tokens_of(*prompt);
  const auto is_token = [](const Json& one) { return one.is_number_integer(); };
  const auto is_part = [](const Json& one) { return one.is_number_integer() || one.is_string(); };
  if (!prompt->is_array() || !std::all_of(prompt->begin(), prompt->end(), is_part) ||
      std::none_of(prompt->begin(), prompt->end(), is_token)) {
    return unknown_prompt("several prompts, or one of a kind of its own");
  }
  if (!std::all_of(prompt->begin(), prompt->end(), is_token)) return upstream.tokens_of(*prompt);
  std::vector<int32_t> tokens;
  for (const Json& token : *prompt) tokens.push_back(token.get<int32_t>());
  return tokens;
}

// The texts of content parts, as chats have them.
Json plain_content(const Json& content) {
  if (!content.is_array()) return content;
  Json parts = Json::array();
  for (const Json& part : content) {
    const std::string type = text_at(part, "type");
    const bool is_text = type == "text" || type == "input_text" || type == "output_text";
    if (is_text) parts.push_back({{"type", "text"}, {"text", text_at(part, "text")}});
  }
  return parts;
}

Json chat_of(const Json& turns, const std::string& system) {
  Json messages = Json::array();
  if (!system.empty()) messages.push_back({{"role", "system"}, {"content", system}});
  if (turns.is_string()) messages.push_back({{"role", "user"}, {"content", turns}});
  if (!turns.is_array()) return messages;
  for (const Json& turn : turns) {
    if (!turn.is_object() || !turn.contains("content")) continue;
    messages.push_back(
        {{"role", text_at(turn, "role")}, {"content", plain_content(turn["content"])}});
  }
  return messages;
}

// Anthropic's `system` is a text or a list of texts.
std::string system_of(const Json& body) {
  const auto system = body.find("system");
  if (system == body.end()) return {};
  if (system->is_string()) return system->get<std::string>();
  std::string all;
  if (system->is_array()) {
    for (const Json& part : *system) all += text_at(part, "text");
  }
  return all;
}

// What the server makes a chat of. A guess that is wrong somewhere is a shorter prefix, no more:
// the server itself compares tokens before it uses cells.
Json as_chat(const Asked& asked) {
  if (asked.api == Api::chat) return asked.body;
  Json chat = asked.body;
  if (asked.api == Api::messages) {
    chat["messages"] = chat_of(asked.body.value("messages", Json()), system_of(asked.body));
  } else {
    chat["messages"] =
        chat_of(asked.body.value("input", Json()), text_at(asked.body, "instructions"));
  }
  for (const char* other : {"input", "instructions", "system", "tools"}) chat.erase(other);
  return chat;
}

}  // namespace

Result<std::vector<int32_t>> prompt_tokens(const Upstream& upstream, const Asked& asked) {
  if (asked.api == Api::completion) return tokens_of_prompt(upstream, asked.body);
  KVS_ASSIGN(const std::string prompt, upstream.prompt_of(as_chat(asked)));
  return upstream.tokens_of(prompt);
}

std::string body_for(const Asked& asked, int slot, bool with_cells) {
  Json body = asked.body;
  body.erase("cache_salt");
  body.erase("n_cache_reuse");  // would move cells that were computed behind another prefix
  body["id_slot"] = slot;
  body["cache_prompt"] = with_cells;
  return print_json(body);
}

}  // namespace kvsplice::serve
