#include "serve/chat.h"

#include <gtest/gtest.h>

namespace kvsplice::serve {
namespace {

Json json(const char* text) { return *parse_json(text); }

TEST(ChatTest, MessagesWithToolsBecomeAChat) {
  const Json chat = chat_of_messages(json(R"({
    "system": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}],
    "messages": [
      {"role": "user", "content": "What is here?"},
      {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "Look."},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "t1", "name": "ls", "input": {"z": 1, "a": 2}}]},
      {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "t1",
         "content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]},
        {"type": "text", "text": "And?"}]}],
    "tools": [{"name": "ls", "description": "lists", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "any"}, "temperature": 1})"));
  EXPECT_EQ(chat, json(R"({"messages": [
      {"role": "system", "content": "Be brief."},
      {"role": "user", "content": "What is here?"},
      {"role": "assistant", "content": [{"type": "text", "text": "I look."}],
       "tool_calls": [{"id": "t1", "type": "function",
                       "function": {"name": "ls", "arguments": "{\"z\":1,\"a\":2}"}}],
       "reasoning_content": "Look."},
      {"role": "user", "content": [{"type": "text", "text": "And?"}]},
      {"role": "tool", "tool_call_id": "t1", "content": "one two"}],
    "tools": [{"type": "function", "function": {"name": "ls", "description": "lists",
                                                "parameters": {"type": "object"}}}],
    "tool_choice": "required"})"));
}

TEST(ChatTest, AStampIsBlottedOutAsTheServerDoes) {
  const char* body = R"({"system": "x-anthropic-billing-header: v=1; cch=a5145;You are."})";
  EXPECT_EQ(chat_of_messages(json(body))["messages"][0]["content"],
            "x-anthropic-billing-header: v=1; cch=fffff;You are.");
  const char* other = R"({"system": "About cch=a5145;"})";
  EXPECT_EQ(chat_of_messages(json(other))["messages"][0]["content"], "About cch=a5145;");
}

TEST(ChatTest, ResponsesWithCallsBecomeAChat) {
  const Json chat = chat_of_responses(json(R"({
    "instructions": "Be brief.",
    "input": [
      {"role": "user", "content": [{"type": "input_text", "text": "What is here?"}]},
      {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "See."}]},
      {"type": "function_call", "call_id": "t1", "name": "ls", "arguments": "{}"},
      {"type": "function_call_output", "call_id": "t1", "output": "one"},
      {"role": "user", "content": "And?"}],
    "tools": [{"type": "function", "name": "ls", "parameters": {}}, {"type": "web_search"}],
    "reasoning": {"effort": "low"}})"));
  EXPECT_EQ(chat, json(R"({"messages": [
      {"role": "system", "content": "Be brief."},
      {"role": "user", "content": [{"text": "What is here?", "type": "text"}]},
      {"role": "assistant", "content": [{"text": "See.", "type": "text"}],
       "tool_calls": [{"id": "t1", "type": "function",
                       "function": {"name": "ls", "arguments": "{}"}}]},
      {"role": "tool", "tool_call_id": "t1", "content": "one"},
      {"role": "user", "content": [{"text": "And?", "type": "text"}]}],
    "tools": [{"type": "function", "function": {"name": "ls", "parameters": {}, "strict": true}}],
    "reasoning_effort": "low"})"));
}

TEST(ChatTest, NothingIsTakenForGranted) {
  for (const char* body :
       {"{}", R"({"messages": 3, "system": 4, "tools": {}, "tool_choice": []})",
        R"({"messages": [1, null, {"role": "user"}, {"content": [2, {"type": "tool_use"}]}]})",
        R"({"input": [1, {"type": "reasoning"}, {"role": "assistant", "content": 5},
                      {"type": "function_call"}], "reasoning": 1, "tools": [7]})"}) {
    EXPECT_TRUE(chat_of_messages(json(body))["messages"].is_array()) << body;
    EXPECT_TRUE(chat_of_responses(json(body))["messages"].is_array()) << body;
  }
}

}  // namespace
}  // namespace kvsplice::serve
