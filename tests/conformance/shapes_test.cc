// Sizes nobody plans for, and numbers of threads nobody should notice.
#include <gtest/gtest.h>

#include "core/temporary_folder.h"
#include "core/threads.h"
#include "generated_cache.h"

namespace kvsplice::codec {
namespace {

class Shapes : public EveryVariant {};

TEST_P(Shapes, EmptyBlock) {
  const CacheBlock block = generate_block(usual_shape(), 0, 2);
  const auto bytes = codec().encode(block, &embeddings_);
  ASSERT_TRUE(bytes.ok()) << bytes.error().message;
  const auto back = decode(*bytes, block);
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(back->count(), 0u);
}

TEST_P(Shapes, OneRow) {
  const CacheBlock block = generate_block(usual_shape(), 1, 2);
  const auto bytes = codec().encode(block, &embeddings_);
  ASSERT_TRUE(bytes.ok()) << bytes.error().message;
  const auto back = decode(*bytes, block);
  ASSERT_TRUE(back.ok()) << back.error().message;
  // One row is a small sample of the error; only nonsense is refused here.
  EXPECT_LT(relative_error(block, *back), 3 * GetParam().variant->error.most + 1e-6);
}

// A parameter may be too large for a head of five values; then, and only then, fit says so.
TEST_P(Shapes, OddHeads) {
  auto codec = fit_codec(pipeline(), odd_shape());
  if (!codec.ok()) {
    EXPECT_EQ(codec.error().kind, ErrorKind::usage) << codec.error().message;
    EXPECT_NE(codec.error().message.find("legal"), std::string::npos) << codec.error().message;
    return;
  }
  const CacheBlock block = generate_block(odd_shape(), 33, 2);
  const auto bytes = codec->encode(block, &embeddings_);
  ASSERT_TRUE(bytes.ok()) << bytes.error().message;
  const auto back = codec->decode(*bytes, block.tokens, block.positions, &embeddings_);
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_LT(relative_error(block, *back), 3 * GetParam().variant->error.most + 1e-6);
}

// GGUF files drop dimensions of 1, as arrays of a layer with one head may have.
TEST_P(Shapes, OddHeadsAreSavedAndLoaded) {
  ModelShape shape = odd_shape();
  shape.query_heads = 3;  // as many for every KV head
  const auto codec = fit_codec(pipeline(), shape);
  if (!codec.ok()) return;
  const auto folder = TemporaryFolder::create("conformance").value();
  const std::string path = folder.file("codec.gguf");
  ASSERT_TRUE(codec->save(path).ok());
  const auto loaded = Codec::load(path);
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_EQ(loaded->fingerprint(), codec->fingerprint());
}

TEST_P(Shapes, BlockOfAnotherShapeIsRefused) {
  const auto bytes = codec().encode(generate_block(odd_shape(), 4, 2), &embeddings_);
  ASSERT_FALSE(bytes.ok());
  EXPECT_EQ(bytes.error().kind, ErrorKind::usage);
}

TEST_P(Shapes, ThreadsChangeNothing) {
  const CacheBlock block = generate_block(usual_shape(), 100, 3);
  const int before = thread_count();
  set_thread_count(1);
  const Codec one = fit_codec(pipeline(), usual_shape()).value();
  const Bytes bytes = one.encode(block, &embeddings_).value();
  set_thread_count(2);
  const Codec two = fit_codec(pipeline(), usual_shape()).value();
  EXPECT_EQ(two.fingerprint(), one.fingerprint());
  EXPECT_TRUE(two.encode(block, &embeddings_).value() == bytes);
  const auto back = two.decode(bytes, block.tokens, block.positions, &embeddings_).value();
  set_thread_count(1);
  const auto alone = one.decode(bytes, block.tokens, block.positions, &embeddings_).value();
  EXPECT_EQ(back.keys, alone.keys);
  EXPECT_EQ(back.values, alone.values);
  set_thread_count(before);
}

INSTANTIATE_TEST_SUITE_P(All, Shapes, testing::ValuesIn(all_subjects()), subject_name);

}  // namespace
}  // namespace kvsplice::codec
