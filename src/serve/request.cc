#include "serve/request.h"

#include <algorithm>
#include <array>

#include "serve/chat.h"

namespace kvsplice::serve {

namespace {

struct Route {
  const char* path;
  Api api;
};
// Of llama-server.
constexpr std::array kRoutes = {
    Route{"/completion", Api::completion},
    Route{"/completions", Api::completion},
    Route{"/v1/completions", Api::completion},
    Route{"/chat/completions", Api::chat},
    Route{"/v1/chat/completions", Api::chat},
    Route{"/api/chat", Api::chat},  // of older ones
    Route{"/responses", Api::responses},
    Route{"/v1/responses", Api::responses},
    Route{"/v1/messages", Api::messages},
    Route{"/lora-adapters", Api::adapters},
    Route{"/infill", Api::other},
    Route{"/embedding", Api::other},
    Route{"/embeddings", Api::other},
    Route{"/v1/embeddings", Api::other},
    Route{"/rerank", Api::other},
    Route{"/reranking", Api::other},
    Route{"/v1/rerank", Api::other},
    Route{"/v1/reranking", Api::other},
    Route{"/audio/transcriptions", Api::other},
    Route{"/v1/audio/transcriptions", Api::other},
};

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
    case Api::other:
      return "other";
    case Api::adapters:
      return "adapters";
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

bool may_be_answered(const std::string& body) { return Json::accept(body); }

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

Json chat_of(const Asked& asked) {
  if (asked.api == Api::messages) return chat_of_messages(asked.body);
  if (asked.api == Api::responses) return chat_of_responses(asked.body);
  return asked.body;
}

}  // namespace

Result<std::vector<int32_t>> prompt_tokens(const Upstream& upstream, const Asked& asked) {
  if (asked.api == Api::completion) return tokens_of_prompt(upstream, asked.body);
  KVS_ASSIGN(const std::string prompt, upstream.prompt_of(chat_of(asked)));
  return upstream.tokens_of(prompt);
}

std::string body_for(const Asked& asked, int slot, bool with_cells) {
  Json body = asked.body;
  body.erase("cache_salt");
  body["n_cache_reuse"] = 0;  // else cells move that were computed behind another prefix
  body["id_slot"] = slot;
  body["cache_prompt"] = with_cells;
  return print_json(body);
}

}  // namespace kvsplice::serve
