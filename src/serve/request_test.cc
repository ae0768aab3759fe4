#include "serve/request.h"

#include <gtest/gtest.h>

#include "serve/passage.h"

namespace kvsplice::serve {
namespace {

TEST(RequestTest, RoutesWithAPromptAreKnown) {
  EXPECT_EQ(api_of("POST", "/v1/chat/completions"), Api::chat);
  EXPECT_EQ(api_of("POST", "/completion"), Api::completion);
  EXPECT_EQ(api_of("POST", "/v1/messages"), Api::messages);
  EXPECT_EQ(api_of("POST", "/api/chat"), Api::chat);
  EXPECT_EQ(api_of("POST", "/v1/embeddings"), Api::other);
  EXPECT_EQ(api_of("POST", "/v1/audio/transcriptions"), Api::other);
  EXPECT_EQ(api_of("GET", "/v1/chat/completions"), Api::none);
  EXPECT_EQ(api_of("POST", "/v1/chat/completions/control"), Api::none);
}

TEST(RequestTest, WhatIsNoObjectIsNotUnderstood) {
  for (const char* body : {"", "{", "[]", "3", "\"a\"", "{\"a\":}", "\xff"}) {
    EXPECT_FALSE(understand(Api::chat, body)) << body;
  }
}

TEST(RequestTest, WhatIsNoJsonIsNotAnswered) {
  for (const char* body : {"", "{", "{\"a\":}", "\xff", "a=1"}) {
    EXPECT_FALSE(may_be_answered(body)) << body;
  }
}

TEST(RequestTest, WhatMattersIsSeen) {
  const auto asked = understand(Api::chat, R"({"messages": [], "n": 2,
      "lora": [{"id": 0}], "id_slot": 3, "cache_salt": "mine"})");
  ASSERT_TRUE(asked);
  EXPECT_TRUE(asked->several);
  EXPECT_TRUE(asked->adapters);
  EXPECT_FALSE(asked->media);
  EXPECT_EQ(asked->slot, 3);
  EXPECT_EQ(asked->salt, "mine");
}

TEST(RequestTest, ValuesOfOtherTypesAreNotMistaken) {
  const auto asked =
      understand(Api::chat, R"({"n": [], "lora": [], "id_slot": -1, "cache_salt": 5})");
  ASSERT_TRUE(asked);
  EXPECT_FALSE(asked->several || asked->adapters || asked->media);
  EXPECT_FALSE(asked->slot);
  EXPECT_EQ(asked->salt, "");
}

TEST(RequestTest, MediaAreFoundWhereverTheyStand) {
  for (
      const char* body :
      {R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]})",
       R"({"messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"image"}]}]}]})",
       R"({"input":[{"content":[{"type":"input_audio"}]}]})"}) {
    const auto asked = understand(Api::chat, body);
    ASSERT_TRUE(asked);
    EXPECT_TRUE(asked->media) << body;
  }
}

TEST(RequestTest, TheServerGetsTheSlotAndNothingOfOurs) {
  const auto asked = understand(
      Api::chat, R"({"z": 1, "messages": [], "cache_salt": "x", "n_cache_reuse": 5, "a": 1.50})");
  EXPECT_EQ(body_for(*asked, 2, true),
            R"({"z":1,"messages":[],"n_cache_reuse":0,"a":1.5,"id_slot":2,"cache_prompt":true})");
  EXPECT_EQ(body_for(*asked, 2, false),
            R"({"z":1,"messages":[],"n_cache_reuse":0,"a":1.5,"id_slot":2,"cache_prompt":false})");
}

TEST(RequestTest, WhatIsNestedTooDeeplyIsNotUnderstood) {
  const auto nested = [](size_t depth) {
    return R"({"prompt":)" + std::string(depth, '[') + std::string(depth, ']') + '}';
  };
  EXPECT_TRUE(understand(Api::completion, nested(kDeepestJson)));
  for (const size_t depth : {size_t{kDeepestJson} + 1, size_t{1'000'000}}) {
    EXPECT_FALSE(understand(Api::completion, nested(depth))) << depth;
    EXPECT_TRUE(may_be_answered(nested(depth))) << depth;
  }
}

TEST(RequestTest, WhatHasTooManyValuesIsNotUnderstood) {
  const auto tokens = [](size_t count) {
    std::string body = R"({"prompt":[1)";
    for (size_t i = 1; i < count; ++i) body += ",1";
    return body + "]}";
  };
  EXPECT_TRUE(understand(Api::completion, tokens(kMostJson / 2)));
  EXPECT_FALSE(understand(Api::completion, tokens(kMostJson + 1)));
  EXPECT_TRUE(may_be_answered(tokens(kMostJson + 1)));
}

TEST(AddressTest, AreReadAndRefused) {
  const auto local = Address::parse("http://127.0.0.1:8080/");
  ASSERT_TRUE(local.ok());
  EXPECT_EQ(local->text(), "127.0.0.1:8080");
  EXPECT_EQ(Address::parse("http://[::1]:80")->host, "::1");
  EXPECT_EQ(Address::parse("box")->port, 80);
  for (const char* url : {"", "http://", ":80", "a:b", "a:0", "a:65536", "https://a", "a:80/x"}) {
    EXPECT_FALSE(Address::parse(url).ok()) << url;
  }
}

TEST(AnswerWatchTest, FindsTheNumbersOfTheLastEvent) {
  AnswerWatch watch;
  watch.feed("data: {\"content\":\"say \\\"timings\\\":{}\",\"timings\":{\"cache_n\":1}}\n\n");
  watch.feed("data: {\"x\":1,\"timings\":{\"cache_n\":40,\"prompt");
  watch.feed("_n\":60,\"prompt_ms\":1500.0,\"predicted_n\":7}}\n\ndata: [DONE]\n\n");
  const auto numbers = watch.numbers();
  EXPECT_EQ(numbers.cached, 40u);
  EXPECT_EQ(numbers.evaluated, 60u);
  EXPECT_EQ(numbers.predicted, 7u);
  EXPECT_DOUBLE_EQ(numbers.evaluate_seconds, 1.5);
}

TEST(AnswerWatchTest, AnswersWithoutNumbersSayNothing) {
  for (const char* answer : {"", "{}", "\"timings\":", "\"timings\":{", "\"timings\":3}",
                             "\"timings\":{\"cache_n\":\"x\"}", "\"timings\":{\"cache_n\":-5}"}) {
    AnswerWatch watch;
    watch.feed(answer);
    EXPECT_EQ(watch.numbers().cached, 0u) << answer;
  }
}

TEST(AnswerWatchTest, LongAnswersKeepTheirEnd) {
  AnswerWatch watch;
  for (int i = 0; i < 100; ++i) watch.feed(std::string(100'000, 'x'));
  watch.feed("\"timings\":{\"cache_n\":9}");
  EXPECT_EQ(watch.numbers().cached, 9u);
}

}  // namespace
}  // namespace kvsplice::serve
