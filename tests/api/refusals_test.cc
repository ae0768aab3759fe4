// Hostile and careless callers: every call that means nothing is refused with a sentence.
#include <dlfcn.h>

#include <functional>
#include <limits>

#include "golden_case.h"

namespace kvsplice::api {
namespace {

class Refusals : public InFolder {
 protected:
  static constexpr size_t kCount = 32;

  // What `change` makes of a sound block must be refused in both directions.
  void expect_refused(const std::function<void(kvs_block&, std::vector<kvs_rows>& keys)>& change) {
    BlockInMemory memory(codec_, kCount, KVS_F32);
    kvs_block block = memory.of(golden_.tokens(), positions_, KVS_RAW);
    std::vector<kvs_rows> keys(block.keys, block.keys + memory.layers());
    block.keys = keys.data();
    change(block, keys);
    Buffer bytes;
    expect_usage(kvs_encode(codec_.c(), &block, nullptr, bytes.c(), &error_));
    EXPECT_EQ(bytes.c()->data, nullptr);
    block.absent = 0;
    expect_usage(kvs_decode_into(codec_.c(), golden_.bytes().data(), golden_.bytes().size(), &block,
                                 nullptr, &error_));
  }

  void expect_usage(kvs_status status) {
    EXPECT_EQ(status, KVS_ERROR_USAGE);
    EXPECT_EQ(error_.status, status);
    EXPECT_GT(std::strlen(error_.message), 5u);
    error_ = {};
  }

  const GoldenCase golden_{"klt"};
  const Codec codec_ = golden_.codec();
  const std::vector<int32_t> positions_ = golden_.column("positions");
  const std::string session_path_ = golden_.session_path();
  kvs_error error_{};
};

TEST_F(Refusals, OfBlocksThatMeanNothing) {
  expect_refused([](kvs_block& block, auto&) { block.tokens = nullptr; });
  expect_refused([](kvs_block& block, auto&) { block.positions = nullptr; });
  expect_refused([](kvs_block& block, auto&) { block.keys = nullptr; });
  expect_refused([](kvs_block& block, auto&) { block.values = nullptr; });
  expect_refused([](kvs_block& block, auto&) { block.space = 2; });
  expect_refused([](kvs_block& block, auto&) { block.count = SIZE_MAX; });
  expect_refused([](kvs_block&, auto& keys) { keys[1].data = nullptr; });
  expect_refused([](kvs_block&, auto& keys) { keys[2].element = 3; });
  expect_refused([](kvs_block&, auto& keys) { keys[2].element = -1; });
  expect_refused([](kvs_block&, auto& keys) { keys[0].row_stride = 0; });
  expect_refused([](kvs_block&, auto& keys) { keys[0].col_stride = 0; });
}

TEST_F(Refusals, OfAbsentRowsThatMeanNothing) {
  BlockInMemory memory(codec_, kCount, KVS_F32);
  kvs_block block = memory.of(golden_.tokens(), positions_, KVS_RAW);
  Buffer bytes;
  for (const size_t absent : {size_t{1}, kCount - 1, kCount + 1, SIZE_MAX}) {
    block.absent = absent;
    expect_usage(kvs_encode(codec_.c(), &block, nullptr, bytes.c(), &error_));
  }
}

TEST_F(Refusals, OfAWrongCountOfTokens) {
  BlockInMemory memory(codec_, kCount - 1, KVS_F32);
  kvs_block& block = memory.of(golden_.tokens(), positions_, KVS_RAW);
  EXPECT_EQ(kvs_decode_into(codec_.c(), golden_.bytes().data(), golden_.bytes().size(), &block,
                            nullptr, &error_),
            KVS_ERROR_FORMAT);
  EXPECT_TRUE(memory.rows(Kind::key, 0).untouched());
}

TEST_F(Refusals, OfNothingWhereACodecNeedsSomething) {
  BlockInMemory memory(codec_, kCount, KVS_F32);
  kvs_block& block = memory.of(golden_.tokens(), positions_, KVS_RAW);
  const auto bytes = golden_.bytes();
  const kvs_sink sink = [](void*, kvs_kind, int, const float*, size_t, size_t, size_t) {
    return 0;
  };
  kvs_codec* codec = nullptr;
  const kvs_source no_read{};
  Buffer buffer;
  expect_usage(kvs_codec_open(nullptr, nullptr, &codec, &error_));
  expect_usage(kvs_codec_open(golden_.codec_path().c_str(), nullptr, nullptr, &error_));
  expect_usage(kvs_codec_open_bytes(nullptr, 10, nullptr, &codec, &error_));
  expect_usage(kvs_codec_open_source(nullptr, nullptr, &codec, &error_));
  expect_usage(kvs_codec_open_source(&no_read, nullptr, &codec, &error_));
  EXPECT_EQ(codec, nullptr);
  expect_usage(kvs_encode(nullptr, &block, nullptr, buffer.c(), &error_));
  expect_usage(kvs_encode(codec_.c(), nullptr, nullptr, buffer.c(), &error_));
  expect_usage(kvs_encode(codec_.c(), &block, nullptr, nullptr, &error_));
  expect_usage(kvs_decode_into(nullptr, bytes.data(), bytes.size(), &block, nullptr, &error_));
  expect_usage(kvs_decode_into(codec_.c(), nullptr, 10, &block, nullptr, &error_));
  expect_usage(kvs_decode_into(codec_.c(), bytes.data(), bytes.size(), nullptr, nullptr, &error_));
  expect_usage(kvs_decode(codec_.c(), bytes.data(), bytes.size(), block.tokens, block.positions,
                          kCount, KVS_RAW, nullptr, nullptr, nullptr, &error_));
  expect_usage(kvs_decode(codec_.c(), bytes.data(), bytes.size(), block.tokens, block.positions,
                          kCount, 7, nullptr, sink, nullptr, &error_));
  expect_usage(kvs_decode(codec_.c(), bytes.data(), bytes.size(), nullptr, block.positions, kCount,
                          KVS_RAW, nullptr, sink, nullptr, &error_));
  EXPECT_EQ(kvs_encode(nullptr, &block, nullptr, buffer.c(), nullptr), KVS_ERROR_USAGE);
  kvs_buffer_free(nullptr);
  kvs_codec_free(nullptr);
}

TEST_F(Refusals, AnswersAboutNothingAreNothing) {
  EXPECT_EQ(kvs_codec_layers(nullptr), 0);
  EXPECT_EQ(kvs_codec_layer(nullptr, 0).kv_heads, 0);
  EXPECT_EQ(kvs_codec_layer(codec_.c(), -1).kv_heads, 0);
  EXPECT_EQ(kvs_codec_layer(codec_.c(), 3).kv_heads, 0);
  EXPECT_STREQ(kvs_codec_pipeline(nullptr), "");
  EXPECT_STREQ(kvs_codec_fingerprint(nullptr), "");
  EXPECT_STREQ(kvs_codec_model(nullptr), "");
  EXPECT_EQ(kvs_codec_block_tokens(nullptr), 0u);
  EXPECT_EQ(kvs_session_size(nullptr) + kvs_session_pending(nullptr), 0u);
  EXPECT_EQ(kvs_session_layers(nullptr), 0);
  EXPECT_EQ(kvs_session_layer(nullptr, 0).kv_heads, 0);
  EXPECT_STREQ(kvs_session_model(nullptr), "");
  EXPECT_STREQ(kvs_session_codec(nullptr), "");
  kvs_session_free(nullptr);
}

TEST_F(Refusals, OfSessionsThatAreReadWrongly) {
  const Session session = std::move(Session::open(session_path_, &codec_)).value();
  BlockInMemory memory(codec_, 8, KVS_F16);
  kvs_block& block = memory.block();
  int32_t tokens[40];
  kvs_session* made = nullptr;
  expect_usage(kvs_session_open(nullptr, codec_.c(), nullptr, nullptr, &made, &error_));
  expect_usage(
      kvs_session_open(session_path_.c_str(), codec_.c(), nullptr, nullptr, nullptr, &error_));
  EXPECT_EQ(made, nullptr);
  const kvs_source no_read{};
  expect_usage(kvs_session_open_bytes(nullptr, 10, codec_.c(), nullptr, nullptr, &made, &error_));
  expect_usage(kvs_session_open_source(nullptr, codec_.c(), nullptr, nullptr, &made, &error_));
  expect_usage(kvs_session_open_source(&no_read, codec_.c(), nullptr, nullptr, &made, &error_));
  EXPECT_EQ(made, nullptr);
  expect_usage(kvs_session_read(session.c(), 0, &block, &error_));  // in raw space
  block.space = KVS_CACHED;
  expect_usage(kvs_session_read(nullptr, 0, &block, &error_));
  expect_usage(kvs_session_read(session.c(), 0, nullptr, &error_));
  expect_usage(kvs_session_read(session.c(), 25, &block, &error_));
  expect_usage(kvs_session_read(session.c(), SIZE_MAX, &block, &error_));
  block.count = SIZE_MAX;
  expect_usage(kvs_session_read(session.c(), 1, &block, &error_));
  block.count = 8;
  block.keys = nullptr;
  expect_usage(kvs_session_read(session.c(), 0, &block, &error_));
  expect_usage(kvs_session_tokens(nullptr, 0, 1, tokens, &error_));
  expect_usage(kvs_session_tokens(session.c(), 0, 1, nullptr, &error_));
  expect_usage(kvs_session_tokens(session.c(), 1, 32, tokens, &error_));
  expect_usage(kvs_session_tokens(session.c(), SIZE_MAX, 2, tokens, &error_));
}

TEST_F(Refusals, OfSessionsThatArePackedWrongly) {
  BlockInMemory halves(codec_, kCount, KVS_F16);
  std::vector<int32_t> positions(kCount);
  for (size_t i = 0; i < kCount; ++i) positions[i] = int32_t(i);
  const kvs_block sound = halves.of(golden_.tokens(), positions, KVS_CACHED);
  const std::string path = folder_.file("new.kvz");
  const auto pack = [&](const kvs_block* block, const kvs_codec* codec, const kvs_model* model,
                        const kvs_pack_options* options = nullptr, size_t pending = 0) {
    return kvs_session_pack(path.c_str(), block, nullptr, pending, codec, model, nullptr, options,
                            nullptr, &error_);
  };
  kvs_block raw = sound;
  raw.space = KVS_RAW;
  const kvs_pack_options big_blocks{4097, 4, 32}, many_sinks{0, SIZE_MAX, 32};
  expect_usage(pack(nullptr, codec_.c(), nullptr));
  expect_usage(pack(&sound, nullptr, nullptr));
  expect_usage(pack(&raw, codec_.c(), nullptr));
  expect_usage(pack(&sound, codec_.c(), nullptr, &big_blocks));
  expect_usage(pack(&sound, codec_.c(), nullptr, &many_sinks));
  expect_usage(pack(&sound, codec_.c(), nullptr, nullptr, 3));  // pending tokens without a pointer
  const int no_number = -1;
  const kvs_layer layer{2, 8, 8, 0}, no_heads{0, 8, 8, 0}, wide{2, 1 << 20, 8, 0};
  const std::string long_name(65, 'm');
  for (const kvs_model& model : {kvs_model{nullptr, nullptr, nullptr, 1, &layer, nullptr},
                                 kvs_model{"m", nullptr, nullptr, 0, &layer, nullptr},
                                 kvs_model{long_name.c_str(), nullptr, nullptr, 1, &layer, nullptr},
                                 kvs_model{"m", nullptr, nullptr, 1, nullptr, nullptr},
                                 kvs_model{"m", nullptr, nullptr, -1, &layer, nullptr},
                                 kvs_model{"m", nullptr, nullptr, 1, &no_heads, nullptr},
                                 kvs_model{"m", nullptr, nullptr, 1, &wide, nullptr},
                                 kvs_model{"m", nullptr, nullptr, 1, &layer, &no_number}}) {
    expect_usage(pack(&sound, nullptr, &model));
  }
  expect_usage(kvs_session_pack(nullptr, &sound, nullptr, 0, codec_.c(), nullptr, nullptr, nullptr,
                                nullptr, &error_));
  const kvs_output no_write{};
  Buffer bytes;
  expect_usage(kvs_session_pack_bytes(&sound, nullptr, 0, codec_.c(), nullptr, nullptr, nullptr,
                                      nullptr, nullptr, &error_));
  expect_usage(kvs_session_pack_bytes(&raw, nullptr, 0, codec_.c(), nullptr, nullptr, nullptr,
                                      nullptr, bytes.c(), &error_));
  EXPECT_EQ(bytes.c()->data, nullptr);
  expect_usage(kvs_session_pack_output(nullptr, &sound, nullptr, 0, codec_.c(), nullptr, nullptr,
                                       nullptr, nullptr, &error_));
  expect_usage(kvs_session_pack_output(&no_write, &sound, nullptr, 0, codec_.c(), nullptr, nullptr,
                                       nullptr, nullptr, &error_));
  expect_usage(
      kvs_session_extend(nullptr, &sound, nullptr, 0, codec_.c(), nullptr, nullptr, &error_));
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(Refusals, ArePrintedInWholeCharacters) {
  for (const std::string start : {"", "x"}) {
    std::string path = folder_.path() + "/" + start;
    for (int i = 0; i < 1000; ++i) path += "\u00e4";
    kvs_codec* codec = nullptr;
    EXPECT_EQ(kvs_codec_open(path.c_str(), nullptr, &codec, &error_), KVS_ERROR_IO);
    const std::string message = error_.message;
    ASSERT_GE(message.size(), sizeof error_.message - 2);
    ASSERT_LT(message.size(), sizeof error_.message);
    EXPECT_TRUE(message.ends_with("\u00e4")) << message.substr(message.size() - 4);
  }
}

// The other tests are of the library that is installed only if this holds.
TEST(SharedLibrary, IsWhatTheseTestsCall) {
  Dl_info info;
  ASSERT_NE(dladdr(reinterpret_cast<void*>(&kvs_decode_into), &info), 0);
  EXPECT_NE(std::string(info.dli_fname).find("libkvsplice.so"), std::string::npos)
      << info.dli_fname;
}

}  // namespace
}  // namespace kvsplice::api
