// Sessions of models whose attention takes values from the keys: keys alone, in format 2.
#include <gmock/gmock.h>

#include "core/file.h"
#include "session/fitted_codec_test.h"
#include "session/session_file.h"

namespace kvsplice::session {
namespace {

ModelShape latent_shape() {
  ModelShape shape = small_shape();
  for (LayerShape& layer : shape.layers) {
    layer.kv_heads = 1;
    layer.key_dim = 80;
    layer.value_dim = 0;
    layer.rope.first = 64;
    layer.rope.frequency.resize(8);
  }
  return shape;
}

class LatentTest : public ::testing::Test {
 protected:
  Bytes packed(const ModelShape& shape, const codec::Codec* codec) const {
    const Coder coder{shape, codec, nullptr};
    const Cells cells = generate_cells(shape, 0, 100, 1);
    EXPECT_TRUE(pack(file_.path(), cells, {}, coder, {32, 4, 16}, {}).ok());
    return read_file(file_.path()).value();
  }
  const TemporaryFile file_{".kvz"};
  const ModelShape shape_ = latent_shape();
  const Cells cells_ = generate_cells(shape_, 0, 100, 1);
};

TEST_F(LatentTest, KeysComeBackToTheBit) {
  packed(shape_, nullptr);
  const Coder coder{shape_, nullptr, nullptr};
  const auto session = Session::open(file_.path(), coder).value();
  const auto back = session.read(0, 100, {}).value();
  expect_equal(back, cells_);
  // What it says of itself is enough.
  const Coder other{shape_of(SessionReader::open(file_.path())->info()), nullptr, nullptr};
  expect_equal(Session::open(file_.path(), other)->read(0, 100, {}).value(), cells_);
}

TEST_F(LatentTest, OnlyTheirFilesNeedNewerReaders) {
  const auto formats = [](const Bytes& file) { return std::pair(int(file[8]), int(file[10])); };
  EXPECT_EQ(formats(packed(shape_, nullptr)), std::pair(2, 2));
  EXPECT_EQ(formats(packed(small_shape(), nullptr)), std::pair(1, 1));
}

TEST_F(LatentTest, CodecsHaveUnitsOfKeysAlone) {
  for (const char* text : {"layers(history=2,embedding=off) | klt | step(delta=0.1) | range",
                           "klt | step(delta=0.1) | range", "hadamard | step(delta=0.1) | range"}) {
    const codec::Codec made = fitted(shape_, text);
    EXPECT_EQ(made.units().size(), 3u);
    const TemporaryFile saved(".gguf");
    ASSERT_TRUE(made.save(saved.path()).ok());
    const auto codec = codec::Codec::load(saved.path());
    ASSERT_TRUE(codec.ok()) << codec.error().message;
    EXPECT_EQ(codec->fingerprint(), made.fingerprint());
    EXPECT_EQ(codec->shape(), shape_);
    const size_t size = packed(shape_, &*codec).size();
    EXPECT_LT(size, 2 * shape_.values_per_token() * 100 * 3 / 4) << text;
    const Coder coder{shape_, &*codec, nullptr};
    const auto back = Session::open(file_.path(), coder)->read(0, 100, {}).value();
    const double error =
        relative_error(all_rows<float>(cells_, Kind::key, 1), all_rows<float>(back, Kind::key, 1));
    EXPECT_GT(error, 0.001) << text;
    EXPECT_LT(error, 0.2) << text;
  }
}

// The rotated pairs begin in the middle of a head.
TEST_F(LatentTest, TheStageExactIsExact) {
  const codec::Codec codec = fitted(shape_, "exact");
  packed(shape_, &codec);
  const Coder coder{shape_, &codec, nullptr};
  expect_equal(Session::open(file_.path(), coder)->read(0, 100, {}).value(), cells_);
}

TEST_F(LatentTest, DamageIsNoticed) {
  const Bytes whole = packed(shape_, nullptr);
  const Coder coder{shape_, nullptr, nullptr};
  for (size_t i = 0; i < whole.size(); i += 7) {
    Bytes bytes = whole;
    bytes[i] ^= 1 << (i % 8);
    auto reader = SessionReader::open(view_source(bytes), "damaged");
    if (!reader.ok()) continue;
    const auto session = Session::open(std::move(*reader), coder);
    EXPECT_FALSE(session.ok() && session->read(0, 100, {}).ok()) << i;
  }
}

}  // namespace
}  // namespace kvsplice::session
