#include "host/chat_template.h"

#include <gmock/gmock.h>
#include <llama.h>

#include <algorithm>
#include <set>

#include "host/model.h"
#include "host/tiny_model_test.h"

namespace kvsplice::host {
namespace {

using ::kvsplice::testing::must;
using ::kvsplice::testing::TempDir;
using ::kvsplice::testing::TinyModel;
using ::testing::AllOf;
using ::testing::HasSubstr;

class Templates : public ::testing::Test {
 protected:
  Model model(const std::string& own) const {
    TinyModel tiny({});
    if (!own.empty()) tiny.file.set_text("tokenizer.chat_template", own);
    tiny.save(dir.file("m.gguf"));
    return must(Model::load(dir.file("m.gguf")));
  }
  const TempDir dir;
};

TEST_F(Templates, StandBeforeAndBetweenMessages) {
  const Model tiny = model("{{ '<|im_start|>' }}");
  const ChatTemplate own = must(ChatTemplate::of(tiny));
  EXPECT_EQ(must(own.first("S", "a")),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n"
            "<|im_start|>assistant\n");
  EXPECT_EQ(must(own.first("", "a")), "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(must(own.next("b")),
            "<|im_end|>\n<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\n");
  // The system's text goes into the first message; answers that come begin otherwise than those
  // that are there.
  const ChatTemplate gemma = must(ChatTemplate::of(tiny, "gemma"));
  EXPECT_EQ(must(gemma.first("S", " a ")),
            "<start_of_turn>user\nS\n\na<end_of_turn>\n<start_of_turn>model\n");
  EXPECT_EQ(must(gemma.next("b")),
            "<end_of_turn>\n<start_of_turn>user\nb<end_of_turn>\n<start_of_turn>model\n");
  const ChatTemplate oss = must(ChatTemplate::of(tiny, "gpt-oss"));
  EXPECT_EQ(must(oss.next("b")), "<|return|><|start|>user<|message|>b<|end|><|start|>assistant");
}

std::string rendered(const std::string& name, const std::vector<llama_chat_message>& messages) {
  std::string text(4096, '\0');
  const int size = llama_chat_apply_template(name.c_str(), messages.data(), messages.size(), true,
                                             text.data(), int(text.size()));
  text.resize(size_t(std::max(size, 0)));
  return text;
}

// Of all templates that llama.cpp has: the parts are the whole.
TEST_F(Templates, PartsOfAConversationAreTheWhole) {
  const Model tiny = model("");
  size_t whole = 0;
  for (const std::string& name : ChatTemplate::names()) {
    const ChatTemplate chat = must(ChatTemplate::of(tiny, name));
    const std::string text =
        rendered(name, {{"user", "a"}, {"assistant", "Answer."}, {"user", "[answer] b"}});
    const std::string next = must(chat.next("[answer] b"));
    EXPECT_TRUE(text.ends_with("Answer." + next)) << name << ": " << next;
    EXPECT_THAT(next, HasSubstr("[answer] b")) << name;
    whole += text == must(chat.first("", "a")) + "Answer." + next;
  }
  // Others begin an answer that is there otherwise: with a blank, or as gpt-oss does.
  EXPECT_GT(whole, 35u);
}

TEST_F(Templates, AreRefusedWithWhatWouldDo) {
  const Model none = model(""), odd = model("{% x %}@\nand so on");
  EXPECT_THAT(ChatTemplate::of(none).error().message,
              AllOf(HasSubstr("has no chat template"), HasSubstr("chatml, command-r")));
  EXPECT_THAT(ChatTemplate::of(odd).error().message,
              AllOf(HasSubstr("does not know the chat template"), HasSubstr("begins '{% x %}@';")));
  EXPECT_THAT(ChatTemplate::of(odd, "chat").error().message, HasSubstr("is called 'chat'"));
  const ChatTemplate chat = must(ChatTemplate::of(odd, "chatml"));
  const std::string zero("a\0b", 3);
  EXPECT_THAT(chat.next(zero).error().message, HasSubstr("zero byte"));
  EXPECT_THAT(chat.first(zero, "a").error().message, HasSubstr("zero byte"));
}

}  // namespace
}  // namespace kvsplice::host
