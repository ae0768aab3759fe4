// States as llama.cpp's programs write and want them, through pack, unpack and inspect.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "program.h"

namespace kvsplice::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr size_t kTokens = 24;

// A state of the model, made once; its bytes can be changed by hand. A sequence file begins with
// magic, version, number of tokens, tokens, streams, number of cells.
class StateVerbs : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    made = new Folder;
    must("pack -m " + kModel + " -f " + sample("news") + " -n " + std::to_string(kTokens) +
         " --lossless -o " + *made / "exact.kvz");
    must("unpack " + *made / "exact.kvz" + " -m " + kModel + " -o " + *made / "a.state");
  }
  static void TearDownTestSuite() { delete made; }

  void refused(const std::string& arguments, int code, const std::string& says) const {
    cli::refused(arguments + m_ + " -o " + tmp_ / "refused", code, says);
    EXPECT_FALSE(std::filesystem::exists(tmp_ / "refused")) << arguments;
  }
  std::string pack(const std::string& bytes, const std::string& options = "") const {
    spill(tmp_ / "in.state", bytes);
    return must("pack " + tmp_ / "in.state" + m_ + " --lossless" + options + " -o " +
                tmp_ / "out.kvz");
  }
  void pack_refused(const std::string& bytes, int code, const std::string& says,
                    const std::string& options = "") const {
    spill(tmp_ / "in.state", bytes);
    refused("pack " + tmp_ / "in.state" + " --lossless" + options, code, says);
  }
  // Of what pack has made.
  std::string unpacked(const std::string& options = "") const {
    must("unpack " + tmp_ / "out.kvz" + m_ + options + " -o " + tmp_ / "out.state");
    return slurp(tmp_ / "out.state");
  }

  static std::string words(const std::vector<int32_t>& values) {
    return {reinterpret_cast<const char*>(values.data()), 4 * values.size()};
  }
  static int32_t word(const std::string& bytes, size_t at) {
    int32_t value = 0;
    std::memcpy(&value, &bytes[4 * at], 4);
    return value;
  }
  // The state with another field of tokens.
  static std::string with_tokens(const std::vector<int32_t>& field) {
    const std::string a = state();
    return a.substr(0, 8) + words({int32_t(field.size())}) + words(field) +
           a.substr(12 + 4 * kTokens);
  }
  static std::string state() { return slurp(*made / "a.state"); }
  static std::vector<int32_t> tokens() {
    std::vector<int32_t> all;
    for (size_t i = 0; i < kTokens; ++i) all.push_back(word(state(), 3 + i));
    return all;
  }

  static inline Folder* made = nullptr;
  const std::string m_ = " -m " + kModel, exact_ = *made / "exact.kvz";
  Folder tmp_;
};

TEST_F(StateVerbs, SlotsOfAServerPackTheirTokens) {
  std::vector<int32_t> record = tokens();
  record.insert(record.begin(), {-1, 1, int32_t(kTokens)});
  record.push_back(0);  // no media
  pack(with_tokens(record));
  EXPECT_TRUE(unpacked() == state());
  record.back() = 1;
  pack_refused(with_tokens(record), 1, "1 media");
  record[1] = 2;
  pack_refused(with_tokens(record), 1, "record of format 2; legal:");
}

TEST_F(StateVerbs, TokensAreLookedAtBeforeAnythingIsWritten) {
  for (const int32_t bad : {-1, 49152}) {
    std::vector<int32_t> field = tokens();
    field[5] = bad;
    pack_refused(with_tokens(field), 1, "token " + std::to_string(bad) + " at place 5");
  }
  pack_refused(with_tokens({1, 2}), 1, "24 cells but only 2 tokens");
}

TEST_F(StateVerbs, AnEmptySlotIsRefused) {
  const std::string head = state().substr(0, 8);
  pack_refused(head + words({0, 1, 0}), 1, "is empty");
  pack_refused(head + words({4, -1, 1, 0, 0, 1, 0}), 1, "is empty");
}

TEST_F(StateVerbs, WhatIsBehindAStateIsLeftOut) {
  EXPECT_THAT(pack(state() + words({1, 0, 7})), HasSubstr("12 bytes behind the state"));
  EXPECT_TRUE(unpacked() == state());
  spill(tmp_ / "x.state", state() + words({1, 0, 7}));
  EXPECT_THAT(must("inspect " + tmp_ / "x.state"), HasSubstr("12 bytes behind it"));
}

TEST_F(StateVerbs, StreamsAreReadAndWritten) {
  const std::string many = " --streams 4";
  pack(state());
  const std::string four = unpacked(many);
  EXPECT_EQ(four.size(), state().size() + 12);
  EXPECT_EQ(word(four, 3 + kTokens), 4);
  EXPECT_THAT(must("inspect " + tmp_ / "out.state"), HasSubstr("4 streams"));
  // The third of them holds the cells.
  const size_t streams = 12 + 4 * kTokens;
  pack(four.substr(0, streams + 4) + words({0, 0}) +
       four.substr(streams + 4, four.size() - streams - 16) + words({0}));
  EXPECT_TRUE(unpacked() == state());
  const std::string cells = state().substr(streams + 4);
  pack_refused(state().substr(0, streams) + words({2}) + cells + cells, 1, "several sequences");
  refused("unpack " + exact_ + " --streams 0", 2, "legal: 1 ... 256");
  refused("unpack " + exact_ + " --streams 257", 2, "legal: 1 ... 256");
}

TEST_F(StateVerbs, BothVersionsAreReadAndWritten) {
  for (const std::string form : {"sequence", "session"}) {
    for (const std::string type : {"f16", "q8_0"}) {
      const std::string how = " --form " + form + " --type " + type;
      pack(state());
      const std::string older =
          unpacked(how + (form == "session" ? " --state-version 10" : " --state-version 3"));
      const std::string newer =
          unpacked(how + (form == "session" ? " --state-version 11" : " --state-version 4"));
      EXPECT_EQ(newer.size(), older.size() + 8);
      EXPECT_EQ(word(newer, 1), word(older, 1) + 1);
      if (type == "q8_0") continue;
      pack(older);
      const std::string from_older = slurp(tmp_ / "out.kvz");
      pack(newer);
      EXPECT_TRUE(from_older == slurp(tmp_ / "out.kvz"));
    }
  }
  refused("unpack " + exact_ + " --state-version 10", 2, "legal: 3, 4");
  refused("unpack " + exact_ + " --form session --state-version 3", 2, "legal: 10, 11");
}

TEST_F(StateVerbs, AStateIsWrittenLikeOneOfItsTarget) {
  pack(state());
  for (const std::string how :
       {"--form session", "--type q8_0", "--type q8_0,f16 --flash-attention off --streams 4",
        "--type f32 --state-version 4", "--type q8_0 --state-version 4 --no-rotation"}) {
    const std::string wanted = unpacked(" " + how);
    spill(tmp_ / "like.state", wanted);
    EXPECT_TRUE(unpacked(" --like " + tmp_ / "like.state") == wanted) << how;
    pack(wanted);
    const std::string again = unpacked(" --like " + tmp_ / "like.state");
    ASSERT_EQ(again.size(), wanted.size()) << how;
    // A scale of q8_0 may move to the next half where one value outweighs the rest of a head.
    size_t differ = 0;
    for (size_t i = 0; i < again.size(); ++i) differ += again[i] != wanted[i];
    EXPECT_LE(differ, how.find("q8_0") == how.npos ? 0 : wanted.size() / 5000) << how;
    pack(state());
  }
  EXPECT_EQ(run("unpack " + exact_ + m_ + " --like x --streams 2 -o " + tmp_ / "y").code, 2);
  refused("unpack " + exact_ + " --like " + exact_, 1, "not the start of a llama.cpp state");
  refused("unpack " + exact_ + " --type q4_0", 2, "legal: f16, f32, q8_0, or two");
  refused("unpack " + exact_ + " --type q8_0 --flash-attention off", 2, "legal: f16, f32");
}

TEST_F(StateVerbs, EachFormListsWhatItsProgramWants) {
  must("run" + m_ + " --threads 1 -p 'Once upon a time' -n 4 --temp 0 --ignore-end --lossless " +
       "--save " + tmp_ / "r.kvz");
  const auto sizes = [&](const std::string& session, const std::string& form) {
    const std::string said =
        must("unpack " + session + m_ + " --form " + form + " -o " + tmp_ / "s");
    return said.substr(said.find(" of ") + 4, said.find(" cells") - said.find(" of ") - 4);
  };
  EXPECT_EQ(sizes(exact_, "sequence"), "24 tokens and 24");
  EXPECT_EQ(sizes(exact_, "session"), "24 tokens and 23");
  EXPECT_EQ(sizes(tmp_ / "r.kvz", "session"), "8 tokens and 7");
  EXPECT_EQ(sizes(tmp_ / "r.kvz", "sequence"), "7 tokens and 7");
  EXPECT_THAT(must("unpack " + tmp_ / "r.kvz" + m_ + " -o " + tmp_ / "s"),
              HasSubstr("1 pending tokens are left out"));
  must("unpack " + tmp_ / "r.kvz" + m_ + " --form session -n 8 -o " + tmp_ / "s");
  refused("unpack " + tmp_ / "r.kvz" + " -n 8", 2, "has 7 tokens, 8 are wanted");
}

TEST_F(StateVerbs, TheFirstTokensOfAStateCanBePacked) {
  spill(tmp_ / "a.state", state());
  const std::string a = "pack " + tmp_ / "a.state" + " --lossless";
  must(a + m_ + " -n 10 -o " + tmp_ / "ten.kvz");
  EXPECT_THAT(must("inspect " + tmp_ / "ten.kvz"), HasSubstr("session, 10 tokens"));
  refused(a + " -n 25", 2, "has 24 tokens, 25 are wanted");
}

TEST_F(StateVerbs, F32IsSaidToBecomeF16) {
  pack(state());
  std::string f32 = unpacked(" --type f32");
  EXPECT_THAT(pack(f32), HasSubstr("all of them are f16 values"));
  EXPECT_TRUE(unpacked(" --type f32") == f32);
  const float third = 1 / 3.0f;
  std::memcpy(&f32[f32.size() - 4], &third, 4);
  pack_refused(f32, 1, "value 191 of the values of layer 29 at position 23 is f32 and not f16");
  must("extract" + m_ + " -f " + sample("fiction") + " -n 64 --no-queries -o " + tmp_ / "d.gguf");
  must("fit " + tmp_ / "d.gguf" + " --codec 'uniform(bits=4,block=32)' -o " + tmp_ / "c.gguf");
  EXPECT_THAT(must("pack " + tmp_ / "in.state" + m_ + " --codec " + tmp_ / "c.gguf" + " -o " +
                   tmp_ / "out.kvz"),
              HasSubstr("f32 cells are kept as f16, which rounds 1 values"));
}

TEST_F(StateVerbs, CellsComeBackFiniteOrAreNamed) {
  must("extract" + m_ + " -f " + sample("fiction") + " -n 64 --no-queries -o " + tmp_ / "d.gguf");
  must("fit " + tmp_ / "d.gguf" + " --codec 'uniform(bits=4,block=32)' -o " + tmp_ / "c.gguf");
  const std::string coded = " --codec " + tmp_ / "c.gguf";
  std::string odd = state();
  const auto set_last = [&](uint16_t half) { std::memcpy(&odd[odd.size() - 2], &half, 2); };
  set_last(0x7bff);  // 65504, the largest there is
  spill(tmp_ / "s", odd);
  must("pack " + tmp_ / "s" + m_ + coded + " --sinks 0 --window 0 -o " + tmp_ / "s.kvz");
  must("unpack " + tmp_ / "s.kvz" + m_ + coded + " -o " + tmp_ / "back");
  EXPECT_THAT(pack(slurp(tmp_ / "back")), Not(HasSubstr("not a number")));
  for (const uint16_t half : {0x7c00, 0x7e00}) {
    set_last(half);
    spill(tmp_ / "s", odd);
    const std::string named = "value 191 of the values of layer 29 at position 23 is infinite or";
    refused("pack " + tmp_ / "s" + coded, 1, named);
    EXPECT_THAT(pack(odd), HasSubstr(named));
    EXPECT_TRUE(unpacked() == odd);
    refused("unpack " + tmp_ / "out.kvz" + " --type q8_0", 1, named);
    const Outcome gone_on = run("run" + m_ + " --load " + tmp_ / "out.kvz" + " -p a -n 2");
    EXPECT_EQ(gone_on.code, 1);
    EXPECT_THAT(gone_on.text, HasSubstr(named));
  }
}

// kvsplice's own cache is asked; a file of an older version has to be told.
TEST_F(StateVerbs, LlamasVariableChangesNothing) {
  must("pack" + m_ + " -f " + sample("news") + " -n 64 --lossless -o " + tmp_ / "n.kvz");
  const std::string off = "LLAMA_ATTN_ROT_DISABLE=1 ";
  const std::string go_on = std::string(KVSPLICE_BINARY) + " run" + m_ + " --threads 1 --load " +
                            tmp_ / "n.kvz" + " --temp 0 -n 6 --quiet --cache ";
  const std::string wanted = shell(go_on + "f16").text;
  for (const std::string& said : {shell(go_on + "q8_0").text, shell(off + go_on + "q8_0").text,
                                  shell(off + go_on + "f16").text}) {
    EXPECT_EQ(said, wanted);
  }
  pack(state());
  const std::string turned = unpacked(" --type q8_0 --state-version 3"),
                    plain = unpacked(" --type q8_0 --state-version 3 --no-rotation");
  EXPECT_TRUE(turned != plain);
  const std::string warning = "are not what the model makes of these tokens";
  EXPECT_THAT(pack(turned), Not(HasSubstr(warning)));
  EXPECT_THAT(pack(plain, " --no-rotation"), Not(HasSubstr(warning)));
  EXPECT_THAT(pack(plain), HasSubstr(warning));
  EXPECT_THAT(pack(turned, " --no-rotation"), HasSubstr(warning));
  pack(unpacked(" --type q8_0 --state-version 4 --no-rotation"));
  pack_refused(unpacked(" --type q8_0 --state-version 4"), 2, "say how heads are turned",
               " --no-rotation");
  pack_refused(unpacked(" --state-version 3"), 2, "there are none", " --no-rotation");
  refused("unpack " + exact_ + " --no-rotation", 2, "only heads of q8_0");
}

}  // namespace
}  // namespace kvsplice::cli
