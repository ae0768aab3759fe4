// Requests of other interfaces as the chats that llama-server makes of them, so that its template
// can be asked for the prompt. Where a guess is wrong the prefix that is found is shorter, no more:
// the server itself compares tokens before it uses cells.
#pragma once

#include "serve/json.h"

namespace kvsplice::serve {

Json chat_of_messages(const Json& body);   // Anthropic's POST /v1/messages
Json chat_of_responses(const Json& body);  // OpenAI's POST /v1/responses

}  // namespace kvsplice::serve
