// Codecs through the C interface: opened from everywhere, rows of every kind, both directions.
#include <atomic>
#include <cmath>
#include <mutex>

#include "core/file.h"
#include "golden_case.h"

namespace kvsplice::api {
namespace {

class EveryCodec : public testing::TestWithParam<const char*> {
 protected:
  const GoldenCase golden_{GetParam()};
  const Codec codec_ = golden_.codec();
  const kvs_embeddings embeddings_ = golden_.embeddings();
  const std::vector<int32_t> positions_ = golden_.column("positions");
  // Rows of lossless codecs stand in cached space.
  const kvs_space space_ = codec_.is_lossless() ? KVS_CACHED : KVS_RAW;

  bool lacks(size_t layer) const { return golden_.rows(Kind::key, layer).rows() == 0; }
  kvs_block& describe(BlockInMemory& place, kvs_space space) const {
    return place.of(golden_.tokens(), positions_, space);
  }
  size_t count() const { return positions_.size(); }

  void fill(BlockInMemory& place) const {
    for (size_t l = 0; l < place.layers(); ++l) {
      for (Kind kind : {Kind::key, Kind::value}) place.rows(kind, l).set(golden_.rows(kind, l));
      if (lacks(l)) place.block().absent = count();
    }
  }
  Bytes encode(BlockInMemory& from, kvs_space space) const {
    const auto bytes = codec_.encode(describe(from, space), &embeddings_);
    EXPECT_TRUE(bytes.ok()) << bytes.error().message;
    return Bytes(bytes->bytes().begin(), bytes->bytes().end());
  }
};

TEST_P(EveryCodec, DecodesToPlacesOfEveryKind) {
  for (const kvs_element element : kElements) {
    const double relative = element == KVS_F32 ? 0 : element == KVS_F16 ? 0x1p-10 : 0x1p-8;
    for (const Layout layout : kLayouts) {
      SCOPED_TRACE(testing::Message() << "element " << element << ", layout " << int(layout));
      BlockInMemory place(codec_, count(), element, layout);
      const auto done = codec_.decode(golden_.bytes(), describe(place, space_), &embeddings_);
      ASSERT_TRUE(done.ok()) << done.error().message;
      for (size_t l = 0; l < place.layers(); ++l) {
        for (Kind kind : {Kind::key, Kind::value}) {
          SCOPED_TRACE(unit_name(kind, l));
          if (lacks(l)) {
            EXPECT_TRUE(place.rows(kind, l).untouched());
            EXPECT_EQ(place.block().absent, count());
            continue;
          }
          const Matrix<float> wanted = golden_.rows(kind, l);
          const bool exact = codec_.is_lossless() && element != KVS_BF16;
          expect_close(place.rows(kind, l).get(), wanted, exact ? 0 : 1e-5 * rms(wanted) + 0x1p-24,
                       exact ? 0 : relative);
        }
      }
    }
  }
}

TEST_P(EveryCodec, TakesRowsOfEveryLayout) {
  for (const kvs_element element : kElements) {
    BlockInMemory dense(codec_, count(), element);
    fill(dense);
    const Bytes wanted = encode(dense, space_);
    EXPECT_FALSE(wanted.empty());
    for (const Layout layout : kLayouts) {
      BlockInMemory other(codec_, count(), element, layout);
      fill(other);
      EXPECT_EQ(encode(other, space_), wanted)
          << "element " << element << ", layout " << int(layout);
    }
  }
}

// Halves mean what the same numbers as floats mean.
TEST_P(EveryCodec, TakesElementsOfEveryType) {
  for (const kvs_element element : {KVS_F16, KVS_BF16}) {
    BlockInMemory narrow(codec_, count(), element), wide(codec_, count(), KVS_F32);
    fill(narrow);
    fill(wide);
    for (size_t l = 0; l < wide.layers(); ++l) {
      if (lacks(l)) continue;
      for (Kind kind : {Kind::key, Kind::value}) {
        wide.rows(kind, l).set(narrow.rows(kind, l).get());
      }
    }
    EXPECT_EQ(encode(narrow, space_), encode(wide, space_)) << "element " << element;
  }
}

TEST_P(EveryCodec, GivesEachLayerToTheSinkOnce) {
  struct Met {
    std::mutex mutex;
    std::map<std::pair<int, int>, Matrix<float>> rows;
    bool twice = false;
  } met;
  const kvs_sink sink = [](void* user, kvs_kind kind, int layer, const float* rows, size_t count,
                           size_t width, size_t stride) {
    auto& all = *static_cast<Met*>(user);
    const std::lock_guard lock(all.mutex);
    all.twice = !all.rows
                     .emplace(std::pair(kind, layer),
                              copy(MatrixView<const float>(rows, count, width, stride)))
                     .second ||
                all.twice;
    return 0;
  };
  kvs_error error;
  ASSERT_EQ(kvs_decode(codec_.c(), golden_.bytes().data(), golden_.bytes().size(),
                       golden_.tokens().data(), positions_.data(), count(), space_, &embeddings_,
                       sink, &met, &error),
            KVS_OK)
      << error.message;
  EXPECT_FALSE(met.twice);
  for (size_t l = 0; l < size_t(codec_.layers()); ++l) {
    for (Kind kind : {Kind::key, Kind::value}) {
      const auto found = met.rows.find({kind == Kind::key ? KVS_KEY : KVS_VALUE, int(l)});
      ASSERT_EQ(found == met.rows.end(), lacks(l));
      if (lacks(l)) continue;
      const Matrix<float> wanted = golden_.rows(kind, l);
      expect_close(found->second, wanted, 1e-5 * rms(wanted));
    }
  }
}

TEST_P(EveryCodec, EndsWhenTheSinkSaysSo) {
  std::atomic<int> calls{0};
  const kvs_sink stop = [](void* user, kvs_kind, int, const float*, size_t, size_t, size_t) {
    ++*static_cast<std::atomic<int>*>(user);
    return 1;
  };
  kvs_error error;
  EXPECT_EQ(kvs_decode(codec_.c(), golden_.bytes().data(), golden_.bytes().size(),
                       golden_.tokens().data(), positions_.data(), count(), space_, &embeddings_,
                       stop, &calls, &error),
            KVS_ERROR_INTERRUPTED);
  EXPECT_NE(std::string(error.message).find("asked to stop"), std::string::npos) << error.message;
  EXPECT_GE(calls, 1);
}

TEST_P(EveryCodec, OpensFromPathBytesAndSource) {
  const Bytes file = read_file(golden_.codec_path()).value();
  const auto from_bytes = Codec::open(std::span(file));
  const kvs_source source{const_cast<Bytes*>(&file), file.size(),
                          [](void* user, uint64_t offset, void* out, size_t n) {
                            std::memcpy(out, static_cast<Bytes*>(user)->data() + offset, n);
                            return 0;
                          }};
  const auto from_source = Codec::open(source);
  ASSERT_TRUE(from_bytes.ok()) << from_bytes.error().message;
  ASSERT_TRUE(from_source.ok()) << from_source.error().message;
  EXPECT_EQ(codec_.fingerprint().size(), 32u);
  EXPECT_EQ(from_bytes->fingerprint(), codec_.fingerprint());
  EXPECT_EQ(from_source->fingerprint(), codec_.fingerprint());
}

std::string case_name(const testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Golden, EveryCodec,
                         testing::Values("default", "default-sliding", "default-turns", "klt",
                                         "klt-model", "mixed", "uniform", "f16", "exact",
                                         "exact-range", "exact-sliding"),
                         case_name);

// The golden rows of lossless codecs are all that the block holds.
TEST(CodecApi, EncodesToTheGoldenBytes) {
  for (const char* name : {"exact", "exact-range", "exact-sliding", "f16"}) {
    SCOPED_TRACE(name);
    const GoldenCase golden(name);
    const Codec codec = golden.codec();
    const std::vector<int32_t> positions = golden.column("positions");
    BlockInMemory from(codec, positions.size(), KVS_F16);
    kvs_block& block =
        from.of(golden.tokens(), positions, codec.is_lossless() ? KVS_CACHED : KVS_RAW);
    for (size_t l = 0; l < from.layers(); ++l) {
      for (Kind kind : {Kind::key, Kind::value}) {
        const Matrix<float> rows = golden.rows(kind, l);
        from.rows(kind, l).set(rows);
        if (rows.rows() == 0) block.absent = positions.size();
      }
    }
    const kvs_embeddings embeddings = golden.embeddings();
    const auto bytes = codec.encode(block, &embeddings);
    ASSERT_TRUE(bytes.ok()) << bytes.error().message;
    EXPECT_TRUE(std::ranges::equal(bytes->bytes(), golden.bytes()));
  }
}

// Keys of the model of most golden files: pair i of a head, numbers i and i + 4, is turned by the
// position and 10000^(-i / 4).
Matrix<float> turned(Matrix<float> keys, std::span<const int32_t> positions) {
  for (size_t r = 0; r < keys.rows(); ++r) {
    for (size_t c = 0; c < keys.cols(); ++c) {
      if (c % 8 >= 4) continue;
      const double angle = positions[r] * std::pow(1e4, -double(c % 8) / 4);
      const double a = keys(r, c), b = keys(r, c + 4);
      keys(r, c) = float(a * std::cos(angle) - b * std::sin(angle));
      keys(r, c + 4) = float(a * std::sin(angle) + b * std::cos(angle));
    }
  }
  return keys;
}

TEST(CodecApi, TurnsKeysFromSpaceToSpace) {
  const GoldenCase golden("f16");
  const Codec codec = golden.codec();
  const std::vector<int32_t> positions = golden.column("positions");
  BlockInMemory cached(codec, positions.size(), KVS_F32), back(codec, positions.size(), KVS_F32);
  ASSERT_TRUE(codec.decode(golden.bytes(), cached.of(golden.tokens(), positions, KVS_CACHED)).ok());
  const auto bytes = codec.encode(cached.block());
  ASSERT_TRUE(bytes.ok()) << bytes.error().message;
  ASSERT_TRUE(codec.decode(bytes->bytes(), back.of(golden.tokens(), positions, KVS_RAW)).ok());
  for (size_t l = 0; l < cached.layers(); ++l) {
    const Matrix<float> keys = golden.rows(Kind::key, l), values = golden.rows(Kind::value, l);
    expect_close(cached.rows(Kind::key, l).get(), turned(keys, positions), 1e-4 * rms(keys));
    expect_close(cached.rows(Kind::value, l).get(), values, 0);
    expect_close(back.rows(Kind::key, l).get(), keys, 1e-5 * rms(keys), 0x1p-10);
    expect_close(back.rows(Kind::value, l).get(), values, 0);
  }
}

TEST(CodecApi, SaysWhatItIs) {
  const Codec codec = GoldenCase("default-sliding").codec();
  EXPECT_EQ(codec.layers(), 3);
  EXPECT_EQ(codec.layer(0).kv_heads, 2);
  EXPECT_EQ(codec.layer(0).key_dim, 8);
  EXPECT_EQ(codec.layer(0).value_dim, 8);
  EXPECT_EQ(codec.layer(0).window, 16);
  EXPECT_EQ(codec.layer(1).window, 0);
  EXPECT_EQ(codec.model(), std::string(32, '0'));
  EXPECT_EQ(codec.embedding_dim(), 16);
  EXPECT_EQ(codec.block_tokens(), 512u);
  EXPECT_FALSE(codec.is_lossless());
  EXPECT_TRUE(codec.pipeline().starts_with("layers(history=3) | focus"));
  EXPECT_EQ(GoldenCase("klt").codec().embedding_dim(), 0);
  EXPECT_TRUE(GoldenCase("exact").codec().is_lossless());
  EXPECT_EQ(kvs_codec_formats().newest, 1);
  EXPECT_EQ(kvs_session_formats().newest, 2);
  EXPECT_EQ(std::string(kvs_version()), KVSPLICE_VERSION);
}

TEST(CodecApi, ReportsASourceThatFails) {
  const kvs_source broken{nullptr, 1000, [](void*, uint64_t, void*, size_t) { return 5; }};
  expect_error(Codec::open(broken), ErrorKind::io, "could not read");
  const Bytes noise(1000, 7);
  expect_error(Codec::open(std::span(noise)), ErrorKind::format, "the codec");
}

TEST(ModelFingerprint, TellsFilesApartWhateverTheirNamesAre) {
  const TemporaryFolder folder = TemporaryFolder::create("api-test").value();
  const std::string path = GoldenCase("klt").codec_path(), copy = folder.file("copy.gguf");
  ASSERT_TRUE(write_file(copy, read_file(path).value()).ok());
  const std::string digits = model_fingerprint(path).value();
  EXPECT_EQ(digits.size(), 32u);
  EXPECT_EQ(digits.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_EQ(model_fingerprint(copy).value(), digits);
  EXPECT_NE(model_fingerprint(GoldenCase("dct").codec_path()).value(), digits);
}

TEST(ModelFingerprint, OfWhatIsNoModelIsAnError) {
  char digits[33];
  kvs_error error;
  EXPECT_EQ(kvs_model_fingerprint("/nowhere", digits, &error), KVS_ERROR_IO);
  EXPECT_EQ(kvs_model_fingerprint(GoldenCase("klt").session_path().c_str(), digits, &error),
            KVS_ERROR_FORMAT);
  EXPECT_EQ(kvs_model_fingerprint(nullptr, digits, &error), KVS_ERROR_USAGE);
  EXPECT_EQ(kvs_model_fingerprint("/nowhere", nullptr, &error), KVS_ERROR_USAGE);
}

}  // namespace
}  // namespace kvsplice::api
