// Two threads of a caller in the library at once, each of which has threads of the library's own:
// under the thread sanitizer this shows what they share.
#include <gtest/gtest.h>

#include <thread>

#include "core/file.h"
#include "session/fitted_codec_test.h"

namespace kvsplice::session {
namespace {

constexpr size_t kTokens = 150;

class TwoThreads : public testing::Test {
 protected:
  void SetUp() override {
    const codec::Codec codec =
        fitted(shape_, "layers(history=1,embedding=off) | klt | step(recall=32) | range");
    ASSERT_TRUE(codec.save(codec_file_.path()).ok());
    ASSERT_TRUE(
        pack(session_file_.path(), cells_, {}, {shape_, &codec, nullptr}, {32, 4, 16}, {}).ok());
  }

  Result<Cells> load_and_read() const {
    KVS_ASSIGN(const codec::Codec codec, codec::Codec::load(codec_file_.path()));
    KVS_ASSIGN(const Session session,
               Session::open(session_file_.path(), {shape_, &codec, nullptr}));
    return session.read(0, kTokens, {});
  }

  template <class Body>
  static void twice_at_once(const Body& body) {
    std::thread other([&] { body(1); });
    body(0);
    other.join();
  }

  const ModelShape shape_ = small_shape();
  const Cells cells_ = generate_cells(shape_, 0, kTokens, 1);
  const TemporaryFile codec_file_{".gguf"}, session_file_{".kvz"};
};

TEST_F(TwoThreads, LoadCodecsAndReadOneSession) {
  std::vector<Result<Cells>> read(2);
  twice_at_once([&](size_t i) { read[i] = load_and_read(); });
  ASSERT_TRUE(read[0].ok() && read[1].ok());
  expect_equal(*read[0], *read[1]);
}

TEST_F(TwoThreads, CodeWithOneCodec) {
  const auto codec = codec::Codec::load(codec_file_.path()).value();
  std::vector<Result<Bytes>> bytes(2);
  std::vector<Result<KvBlock<float>>> back(2);
  twice_at_once([&](size_t i) {
    bytes[i] = codec.encode(cells_, nullptr);
    back[i] = codec.decode(*bytes[i], cells_.tokens, cells_.positions, nullptr);
  });
  EXPECT_EQ(*bytes[0], *bytes[1]);
  EXPECT_EQ(back[0]->keys, back[1]->keys);
}

TEST_F(TwoThreads, WriteTwoSessions) {
  const TemporaryFile other(".other.kvz");
  const std::string paths[] = {session_file_.path(), other.path()};
  const Coder lossless{shape_, nullptr, nullptr};
  twice_at_once([&](size_t i) {
    EXPECT_TRUE(pack(paths[i], cells_, {}, lossless, {32, 4, 16}, {}).ok());
  });
  for (const std::string& path : paths) {
    expect_equal(Session::open(path, lossless).value().read(0, kTokens, {}).value(), cells_);
  }
}

// What a thread of llama.cpp's says is told to the caller whose file it is about.
TEST_F(TwoThreads, MeetErrorsOfTheirOwn) {
  ASSERT_TRUE(write_text(codec_file_.path(), "GGUF and nothing behind it").ok());
  std::string messages[2];
  twice_at_once(
      [&](size_t i) { messages[i] = codec::Codec::load(codec_file_.path()).error().message; });
  EXPECT_FALSE(messages[0].empty());
  EXPECT_EQ(messages[0], messages[1]);
}

}  // namespace
}  // namespace kvsplice::session
