#include "serve/chat.h"

#include <functional>

namespace kvsplice::serve {

namespace {

// The members of a list, none if it is something else.
const Json& list_at(const Json& value, const char* key) {
  static const Json none = Json::array();
  if (!value.is_object()) return none;
  const auto at = value.find(key);
  return at != value.end() && at->is_array() ? *at : none;
}

bool has(const Json& value, const char* key) { return value.is_object() && value.contains(key); }

// A member that is a text, or a list of parts, the texts of which are joined.
template <class Edit>
std::string joined_text(const Json& value, const char* key, const Edit& edit) {
  std::string all = edit(text_at(value, key));
  for (const Json& part : list_at(value, key)) {
    if (text_at(part, "type") == "text") all += edit(text_at(part, "text"));
  }
  return all;
}

Json function_call(const std::string& id, const std::string& name, const std::string& arguments) {
  return {
      {"id", id}, {"type", "function"}, {"function", {{"name", name}, {"arguments", arguments}}}};
}

Json tool_answer(const std::string& id, const Json& content) {
  return {{"role", "tool"}, {"tool_call_id", id}, {"content", content}};
}

void keep(const Json& body, std::initializer_list<const char*> keys, Json& chat) {
  for (const char* key : keys) {
    if (has(body, key)) chat[key] = body[key];
  }
}

// --- messages ------------------------------------------------------------------------------------

// Claude Code stamps each request; the server blots the stamp out, as prompts could never begin
// alike with it.
std::string without_stamp(std::string system) {
  if (!system.starts_with("x-anthropic-billing-header:")) return system;
  constexpr size_t kDigits = 5;
  const size_t at = system.find("cch=");
  if (at == system.npos || at + 4 + kDigits >= system.size()) return system;
  if (system[at + 4 + kDigits] == ';') system.replace(at + 4, kDigits, kDigits, 'f');
  return system;
}

void add_system(const Json& body, Json& turns) {
  if (!has(body, "system") || body["system"].is_null()) return;
  turns.push_back({{"role", "system"}, {"content", joined_text(body, "system", without_stamp)}});
}

// One turn may hold text, calls of tools and their answers; a chat has a turn for each answer.
void add_blocks(const Json& turn, Json& turns) {
  Json texts = Json::array(), calls = Json::array(), answers = Json::array();
  std::string thoughts;
  for (const Json& block : turn["content"]) {
    const std::string type = text_at(block, "type");
    if (type == "text") texts.push_back(block);
    if (type == "thinking") thoughts += text_at(block, "thinking");
    if (type == "tool_use") {
      const Json input = has(block, "input") ? block["input"] : Json::object();
      calls.push_back(
          function_call(text_at(block, "id"), text_at(block, "name"), print_json(input)));
    }
    if (type == "tool_result") {
      answers.push_back(tool_answer(text_at(block, "tool_use_id"),
                                    joined_text(block, "content", std::identity())));
    }
  }
  if (!texts.empty() || !calls.empty() || !thoughts.empty()) {
    Json chat_turn = {{"role", text_at(turn, "role")},
                      {"content", texts.empty() ? Json("") : texts}};
    if (!calls.empty()) chat_turn["tool_calls"] = calls;
    if (!thoughts.empty()) chat_turn["reasoning_content"] = thoughts;
    turns.push_back(std::move(chat_turn));
  }
  for (const Json& answer : answers) turns.push_back(answer);
}

// --- responses -----------------------------------------------------------------------------------

// Text parts by the name that chats have for them.
Json texts_of(const Json& item) {
  if (has(item, "content") && item["content"].is_string()) {
    return Json::array({{{"text", item["content"]}, {"type", "text"}}});
  }
  Json texts = Json::array();
  for (const Json& part : list_at(item, "content")) {
    const std::string type = text_at(part, "type");
    if (type != "input_text" && type != "output_text") continue;
    texts.push_back({{"text", text_at(part, "text")}, {"type", "text"}});
  }
  return texts;
}

// What the model said and did between two turns of others is one turn of its own.
Json& own_turn(Json& turns) {
  if (turns.empty() || text_at(turns.back(), "role") != "assistant") {
    turns.push_back({{"role", "assistant"}});
  }
  return turns.back();
}

Json output_of_call(const Json& item) {
  if (has(item, "output") && item["output"].is_string()) return item["output"];
  Json parts = Json::array();
  for (Json part : list_at(item, "output")) {
    if (text_at(part, "type") == "input_text") part["type"] = "text";
    parts.push_back(std::move(part));
  }
  return parts;
}

void add_item(const Json& item, Json& turns) {
  const std::string type = text_at(item, "type"), role = text_at(item, "role");
  if (type == "function_call") {
    Json call =
        function_call(text_at(item, "call_id"), text_at(item, "name"), text_at(item, "arguments"));
    own_turn(turns)["tool_calls"].push_back(std::move(call));
  } else if (type == "function_call_output") {
    turns.push_back(tool_answer(text_at(item, "call_id"), output_of_call(item)));
  } else if (type == "reasoning") {
    const Json& content = list_at(item, "content");
    Json& turn = own_turn(turns);
    if (!turn.contains("content")) turn["content"] = Json::array();
    if (!content.empty()) turn["reasoning_content"] = text_at(content[0], "text");
  } else if (role == "assistant") {
    Json& content = own_turn(turns)["content"];
    if (!content.is_array()) content = Json::array();
    for (Json& text : texts_of(item)) content.push_back(std::move(text));
  } else if (!role.empty()) {
    turns.push_back({{"role", role}, {"content", texts_of(item)}});
  }
}

}  // namespace

Json chat_of_messages(const Json& body) {
  Json turns = Json::array(), tools = Json::array();
  add_system(body, turns);
  for (const Json& turn : list_at(body, "messages")) {
    if (!has(turn, "content") && text_at(turn, "role") == "assistant") continue;
    if (has(turn, "content") && turn["content"].is_array()) {
      add_blocks(turn, turns);
    } else {
      turns.push_back(turn);
    }
  }
  for (const Json& tool : list_at(body, "tools")) {
    const Json schema = has(tool, "input_schema") ? tool["input_schema"] : Json::object();
    tools.push_back({{"type", "function"},
                     {"function",
                      {{"name", text_at(tool, "name")},
                       {"description", text_at(tool, "description")},
                       {"parameters", schema}}}});
  }
  Json chat = {{"messages", turns}};
  if (has(body, "tools")) chat["tools"] = tools;
  keep(body, {"chat_template_kwargs"}, chat);
  // Theirs is an object, a chat's a word.
  if (has(body, "tool_choice")) {
    const std::string type = text_at(body["tool_choice"], "type");
    chat["tool_choice"] = type == "any" || type == "tool" ? "required" : "auto";
  }
  return chat;
}

Json chat_of_responses(const Json& body) {
  Json turns = Json::array(), tools = Json::array();
  if (has(body, "instructions")) {
    turns.push_back({{"role", "system"}, {"content", text_at(body, "instructions")}});
  }
  if (has(body, "input") && body["input"].is_string()) {
    turns.push_back({{"role", "user"}, {"content", body["input"]}});
  }
  for (const Json& item : list_at(body, "input")) add_item(item, turns);
  for (Json tool : list_at(body, "tools")) {
    if (text_at(tool, "type") != "function") continue;
    tool.erase("type");
    if (!tool.contains("strict")) tool["strict"] = true;
    tools.push_back({{"type", "function"}, {"function", std::move(tool)}});
  }
  Json chat = {{"messages", turns}};
  if (!tools.empty()) chat["tools"] = tools;
  keep(body, {"chat_template_kwargs", "tool_choice", "parallel_tool_calls"}, chat);
  const Json reasoning = has(body, "reasoning") ? body["reasoning"] : Json();
  if (has(reasoning, "effort")) chat["reasoning_effort"] = reasoning["effort"];
  return chat;
}

}  // namespace kvsplice::serve
