// What a codec file may say, and what becomes of a codec that could not be fitted.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cstring>

#include "core/file.h"
#include "core/temporary_folder.h"
#include "every_variant.h"

namespace kvsplice::codec {
namespace {

using testing::HasSubstr;

class CodecFile : public testing::Test {
 protected:
  std::string path() const { return folder_.file("codec.gguf"); }
  // The file with one array of 32-bit integers of the metadata replaced.
  Result<Codec> load_with(const std::string& key, const std::vector<int32_t>& values) const {
    Bytes bytes = read_file(path()).value();
    const auto found = std::search(bytes.begin(), bytes.end(), key.begin(), key.end());
    EXPECT_NE(found, bytes.end());
    // Behind the key: the type array, the type of its values, their number.
    std::memcpy(&*found + key.size() + 4 + 4 + 8, values.data(), 4 * values.size());
    EXPECT_TRUE(write_file(path(), bytes).ok());
    return Codec::load(path());
  }

 private:
  const TemporaryFolder folder_ = TemporaryFolder::create("test").value();
};

TEST_F(CodecFile, OfAVersionThatIsNotReadIsNamedByItsStage) {
  const std::string key = "kvsplice.codec.stage_versions";
  const std::vector<std::string> names = {"layers", "klt", "step", "range"};
  ASSERT_TRUE(usual_codec("layers | klt | step | range").save(path()).ok());
  std::vector<int32_t> versions;
  for (int kind = 0; kind < 2; ++kind) {
    for (const auto& name : names) versions.push_back(find_stage(name)->version);
  }
  ASSERT_TRUE(load_with(key, versions).ok());
  for (size_t i = 0; i < versions.size(); ++i) {
    const StageInfo& info = *find_stage(names[i % names.size()]);
    for (const int32_t wrong : {info.oldest - 1, info.version + 1, -1}) {
      std::vector<int32_t> changed = versions;
      changed[i] = wrong;
      const auto loaded = load_with(key, changed);
      ASSERT_FALSE(loaded.ok());
      EXPECT_EQ(loaded.error().kind, ErrorKind::unsupported);
      EXPECT_THAT(loaded.error().message,
                  HasSubstr(fmt::format("the stage '{}' of the codec has version {}; this program "
                                        "reads {} ... {}",
                                        info.name, wrong, info.oldest, info.version)));
    }
  }
  EXPECT_TRUE(load_with(key, versions).ok());
}

TEST_F(CodecFile, WithArraysOfNoStageIsRefused) {
  ASSERT_TRUE(usual_codec("klt | step | range").save(path()).ok());
  Bytes bytes = read_file(path()).value();
  const std::string name = "v.2.0.mean", other = "v.9.0.mean";
  const auto found = std::search(bytes.begin(), bytes.end(), name.begin(), name.end());
  ASSERT_NE(found, bytes.end());
  std::copy(other.begin(), other.end(), found);
  ASSERT_TRUE(write_file(path(), bytes).ok());
  EXPECT_FALSE(Codec::load(path()).ok());
}

class Failing : public BlockSource {
 public:
  using BlockSource::BlockSource;
  Result<Matrix<float>> read(Kind kind, int layer) const override {
    if (layer == 2) return Error{ErrorKind::io, "the disk is gone"};
    return BlockSource::read(kind, layer);
  }
};

TEST(FitCodec, FailsAsItsSourceDoes) {
  const ModelShape shape = usual_shape();
  const Failing failing(calibration_block(shape), shape);
  const auto codec =
      fit_codec(parse_codec("klt | step | range").value(), shape, failing, nullptr, {});
  EXPECT_EQ(codec.error().message, "the disk is gone");
}

// A codec is made without learning where there is nothing that must be learnt.
class Unfitted : public EveryVariant {};

TEST_P(Unfitted, CodesByWhatNeedsNoLearningOrIsNotMade) {
  const KvBlock<float> block = generate_block(usual_shape(), 8, 2);
  const auto unfitted = Codec::create(parse_codec(pipeline()).value(), usual_shape());
  if (!unfitted.ok()) {
    EXPECT_EQ(unfitted.error().kind, ErrorKind::usage);
    EXPECT_THAT(unfitted.error().message, HasSubstr("calibration rows"));
    EXPECT_TRUE(GetParam().stage_case->learns || pipeline().find('|') != pipeline().npos);
    return;
  }
  const auto bytes = unfitted->encode(block, &embeddings_);
  ASSERT_TRUE(bytes.ok()) << bytes.error().message;
  EXPECT_TRUE(unfitted->decode(*bytes, block.tokens, block.positions, &embeddings_).ok());
}

INSTANTIATE_TEST_SUITE_P(All, Unfitted, testing::ValuesIn(all_subjects()), subject_name);

// Of every unit: one more byte of side data, which its stage has no use for.
class SideData : public EveryVariant {};

TEST_P(SideData, MustBeUsedUp) {
  const KvBlock<float> block = generate_block(usual_shape(), 12, 3);
  const Bytes bytes = encode(block);
  const auto parts = codec().payloads(bytes).value();
  for (size_t unit = 0; unit < parts.size(); ++unit) {
    const size_t stages = codec().units()[unit].stages().size();
    for (size_t longer = 0; longer < stages; ++longer) {
      ByteReader in(parts[unit]);
      ByteWriter changed;
      for (size_t s = 0; s < stages; ++s) {
        const ByteSpan side = in.take(in.get_varint().value()).value();
        changed.put_varint(side.size() + (s == longer));
        changed.put_bytes(side);
        if (s == longer) changed.put(uint8_t{0});
      }
      changed.put_bytes(in.take(in.left()).value());
      ByteWriter all;
      for (size_t i = 0; i < parts.size(); ++i) {
        all.put_varint(i == unit ? changed.size() : parts[i].size());
      }
      for (size_t i = 0; i < parts.size(); ++i) {
        all.put_bytes(i == unit ? ByteSpan(changed.bytes()) : parts[i]);
      }
      EXPECT_FALSE(decode(all.bytes(), block).ok()) << unit << ", stage " << longer;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, SideData, testing::ValuesIn(all_subjects()), subject_name);

}  // namespace
}  // namespace kvsplice::codec
