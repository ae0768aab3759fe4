// Sizes nobody plans for, and numbers of threads nobody should notice.
#include <gtest/gtest.h>

#include "core/temporary_folder.h"
#include "core/threads.h"
#include "every_variant.h"

namespace kvsplice::codec {
namespace {

class Shapes : public EveryVariant {};

KvBlock<float> first_rows(const KvBlock<float>& block, size_t n) {
  KvBlock<float> part;
  part.tokens.assign(block.tokens.begin(), block.tokens.begin() + ptrdiff_t(n));
  part.positions.assign(block.positions.begin(), block.positions.begin() + ptrdiff_t(n));
  for (Kind kind : {Kind::key, Kind::value}) {
    for (const auto& rows : block.of(kind)) {
      part.of(kind).push_back(copy(rows.view().row_range(0, n)));
    }
  }
  return part;
}

// `other` with the rows of `block` for its first ones.
KvBlock<float> lengthened(const KvBlock<float>& block, KvBlock<float> other) {
  std::copy(block.tokens.begin(), block.tokens.end(), other.tokens.begin());
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < block.of(kind).size(); ++l) {
      const auto from = block.of(kind)[l].flat();
      std::copy(from.begin(), from.end(), other.of(kind)[l].data());
    }
  }
  return other;
}

TEST_P(Shapes, EmptyBlock) {
  const KvBlock<float> block = generate_block(usual_shape(), 0, 2);
  const auto bytes = codec().encode(block, &embeddings_);
  ASSERT_TRUE(bytes.ok()) << bytes.error().message;
  const auto back = decode(*bytes, block);
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(back->count(), 0u);
}

// The first row as it is decoded with others behind it: nothing but whole blocks looks at those.
TEST_P(Shapes, OneRow) {
  const KvBlock<float> block = generate_block(usual_shape(), 1, 2),
                       longer = lengthened(block, generate_block(usual_shape(), 9, 3));
  const auto bytes = codec().encode(block, &embeddings_);
  ASSERT_TRUE(bytes.ok()) << bytes.error().message;
  const auto back = decode(*bytes, block);
  ASSERT_TRUE(back.ok()) << back.error().message;
  if (codec().whole_block()) {
    EXPECT_LT(relative_error(block, *back), 1.5 * GetParam().variant->error.most + 1e-6);
    return;
  }
  const KvBlock<float> first = first_rows(decode(encode(longer), longer).value(), 1);
  EXPECT_LT(relative_error(first, *back), 1e-4);
}

// A parameter may be too large for a head of five values; then, and only then, fit says so.
TEST_P(Shapes, OddHeads) {
  auto codec = fit_codec(pipeline(), odd_shape());
  if (!codec.ok()) {
    EXPECT_EQ(codec.error().kind, ErrorKind::usage) << codec.error().message;
    EXPECT_NE(codec.error().message.find("legal"), std::string::npos) << codec.error().message;
    return;
  }
  const KvBlock<float> block = generate_block(odd_shape(), 33, 2);
  const auto bytes = codec->encode(block, &embeddings_);
  ASSERT_TRUE(bytes.ok()) << bytes.error().message;
  const auto back = codec->decode(*bytes, block.tokens, block.positions, &embeddings_);
  ASSERT_TRUE(back.ok()) << back.error().message;
  // Other widths, other errors.
  const double error = relative_error(block, *back);
  EXPECT_LT(error, 2 * GetParam().variant->error.most + 1e-6);
  // Short blocks may hold few enough rows to be met exactly.
  if (codec->whole_block()) return;
  EXPECT_GT(error, GetParam().variant->error.least / 3 - 1e-6);
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
  const KvBlock<float> block = generate_block(usual_shape(), 100, 3);
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
