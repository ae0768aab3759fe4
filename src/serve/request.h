// What a request asks for, as far as the proxy needs to know: whether the model will read a prompt,
// and which tokens that is. What is not understood goes to the server as it came.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "serve/upstream.h"

namespace kvsplice::serve {

// other: evaluates something in slots of the server's choice. adapters: changes what all cells
// mean.
enum class Api { none, completion, chat, responses, messages, other, adapters };
const char* name(Api api);
Api api_of(const std::string& method, const std::string& path);

struct Asked {
  Api api = Api::none;
  Json body;
  bool several = false;     // answers to one prompt: llama-server takes slots of its own choice
  bool adapters = false;    // the body names LoRA adapters: cells mean something else
  bool media = false;       // images or sound among the messages
  std::optional<int> slot;  // that the client wants
  std::string salt;         // parts clients that must not see each other's cells (cache_salt)
};

// Nothing if the body is no JSON object, nested too deeply, or of too many values.
std::optional<Asked> understand(Api api, const std::string& body);
// Whether the server may find a prompt in a body that is not understood.
bool may_be_answered(const std::string& body);

// The tokens of the prompt, by the server's own words. Errors: of the server; unsupported for
// prompts of a kind that nobody but it puts together.
Result<std::vector<int32_t>> prompt_tokens(const Upstream& upstream, const Asked& asked);

// The body as the server gets it: that slot, with its cells or without.
std::string body_for(const Asked& asked, int slot, bool with_cells);

}  // namespace kvsplice::serve
