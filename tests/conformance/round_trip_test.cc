// Every variant of every stage: what it loses, what it takes, and that encode, decode and the
// detour through a file agree.
#include <gtest/gtest.h>

#include "core/temporary_folder.h"
#include "every_variant.h"

namespace kvsplice::codec {
namespace {

class RoundTrip : public EveryVariant {};

TEST_P(RoundTrip, ErrorAndBitsAreWithinBothBounds) {
  const KvBlock<float> block = generate_block(usual_shape(), kMeasuredTokens, 2);
  const Measure m = measure(codec(), block).value();
  const StageVariant& v = *GetParam().variant;
  RecordProperty("error", std::to_string(m.error));
  RecordProperty("bits", std::to_string(m.bits));
  EXPECT_GE(m.error, v.error.least);
  EXPECT_LE(m.error, v.error.most);
  EXPECT_GE(m.bits, v.least_bits);
  EXPECT_LE(m.bits, v.most_bits);
  EXPECT_GT(v.error.most, 0) << "the case states no bound";
  EXPECT_LT(v.most_bits, 1e9) << "the case states no bound";
}

TEST_P(RoundTrip, DecodeOfEncodeEqualsRoundtrip) {
  const KvBlock<float> block = generate_block(usual_shape(), 40, 3);
  const KvBlock<float> decoded = decode(encode(block), block).value();
  const KvBlock<float> direct = codec().roundtrip(block, &embeddings_, nullptr).value();
  if (codec().reach() > 1) {  // the encoder adds rows up in another order
    EXPECT_LT(relative_error(decoded, direct), 1e-5);
  } else {
    EXPECT_EQ(decoded.keys, direct.keys);
    EXPECT_EQ(decoded.values, direct.values);
  }
  EXPECT_EQ(decoded.tokens, block.tokens);
  EXPECT_EQ(decoded.positions, block.positions);
}

TEST_P(RoundTrip, CodingTheDecodedBlockAgainChangesNothing) {
  const KvBlock<float> block = generate_block(usual_shape(), 64, 4);
  const Bytes once = encode(block);
  const KvBlock<float> first = decode(once, block).value();
  const Bytes twice = encode(first);
  if (GetParam().stage_case->idempotent) {
    EXPECT_TRUE(twice == once);
  } else {
    EXPECT_LT(relative_error(first, decode(twice, block).value()), 1e-4);
  }
}

TEST_P(RoundTrip, SavedCodecDecodesTheSame) {
  const KvBlock<float> block = generate_block(usual_shape(), 32, 5);
  const auto folder = TemporaryFolder::create("conformance").value();
  const std::string path = folder.file("codec.gguf");
  const auto saved = codec().save(path);
  ASSERT_TRUE(saved.ok()) << saved.error().message;
  const auto loaded = Codec::load(path);
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_EQ(loaded->fingerprint(), codec().fingerprint());
  const Bytes bytes = encode(block);
  EXPECT_TRUE(loaded->encode(block, &embeddings_).value() == bytes);
  const auto back = loaded->decode(bytes, block.tokens, block.positions, &embeddings_);
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(back->keys, decode(bytes, block)->keys);
  EXPECT_EQ(back->values, decode(bytes, block)->values);
}

INSTANTIATE_TEST_SUITE_P(All, RoundTrip, testing::ValuesIn(all_subjects()), subject_name);

}  // namespace
}  // namespace kvsplice::codec
