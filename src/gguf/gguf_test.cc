// GGUF files: what is written comes back, and what is damaged is refused without harm.
#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "core/half.h"
#include "core/shape.h"
#include "host/gguf_file.h"
#include "host/tiny_model_test.h"

namespace kvsplice::host {
namespace {

using ::kvsplice::testing::for_each_flip;
using ::kvsplice::testing::GgufEmitter;
using ::kvsplice::testing::must;
using ::kvsplice::testing::put_file;
using ::kvsplice::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ModelShape some_shape() {
  ModelShape shape{"qwen3", "Some Model", std::string(32, 'a'), 8, 512, 1000, {}};
  shape.layers.push_back({0, 2, 64, 32, 0, {Rope::Pairs::halves, {1, 0.5f, 0.25f}, 1.25f}});
  shape.layers.push_back({2, 4, 16, 16, 512, {}});
  shape.layers.push_back({3, 1, 8, 8, 64, {Rope::Pairs::adjacent, {1, 0.1f}, 1}, true});
  shape.empty_layers = {1, 4};
  shape.query_heads_by_layer = {8, 4, 8};
  return shape;
}

class GgufTest : public ::testing::Test {
 protected:
  TempDir dir;
  std::string path = dir.file("f.gguf");

  // One of everything.
  void write_sample() {
    GgufWriter w = must(GgufWriter::create(path));
    w.set("a.text", std::string("one"));
    w.set("a.integer", int64_t{-5});
    w.set("a.number", 0.125);
    w.set("a.flag", true);
    w.set("a.texts", std::vector<std::string>{"x", "", "z"});
    w.set("a.integers", std::vector<int32_t>{3, -1});
    w.set("a.numbers", std::vector<float>{0.5f});
    w.set("a.nothing", std::vector<float>{});
    write_shape(w, some_shape());
    w.declare({"wide", TensorType::f32, {3, 2}});
    w.declare({"half", TensorType::f16, {5, 2, 3}});
    w.declare({"whole", TensorType::i32, {4}});
    must(w.begin_data());
    // In any order and in pieces.
    must(w.write("whole", 1, std::vector<int32_t>{11, 12, 13}));
    must(w.write("half", 6, std::span<const float>(halves).subspan(6)));
    must(w.write("wide", 0, std::vector<float>{0, 1, 2, 3, 4, 1e30f}));
    must(w.write("half", 0, std::span<const float>(halves).first(6)));
    must(w.write("whole", 0, std::vector<int32_t>{10}));
    must(w.finish());
  }
  const std::vector<float> halves = [] {
    std::vector<float> v(30);
    for (size_t i = 0; i < v.size(); ++i) v[i] = float(i) * 0.37f - 4;
    return v;
  }();
};

TEST_F(GgufTest, RoundTrip) {
  write_sample();
  const GgufReader r = must(GgufReader::open(path));
  EXPECT_EQ(must(r.text("general.architecture")), "kvsplice");
  EXPECT_EQ(must(r.text("a.text")), "one");
  EXPECT_EQ(must(r.integer("a.integer")), -5);
  EXPECT_EQ(must(r.number("a.number")), 0.125);
  EXPECT_TRUE(must(r.flag("a.flag")));
  EXPECT_THAT(must(r.texts("a.texts")), ElementsAre("x", "", "z"));
  EXPECT_THAT(must(r.integers("a.integers")), ElementsAre(3, -1));
  EXPECT_THAT(must(r.numbers("a.numbers")), ElementsAre(0.5f));
  EXPECT_THAT(must(r.numbers("a.nothing")), IsEmpty());
  EXPECT_EQ(must(read_shape(r)), some_shape());
  EXPECT_EQ(r.tensors().size(), 3u);
  EXPECT_THAT(r.find("half")->dims, ElementsAre(5, 2, 3));
  EXPECT_EQ(r.find("half")->type, TensorType::f16);
  EXPECT_EQ(r.find("none"), nullptr);

  std::vector<float> values(30);
  must(r.read("half", 0, std::span<float>(values)));
  for (size_t i = 0; i < 30; ++i) EXPECT_EQ(values[i], from_half(to_half(halves[i])));
  std::vector<float> part(4);
  must(r.read("half", 7, std::span<float>(part)));
  EXPECT_THAT(part, ElementsAre(values[7], values[8], values[9], values[10]));
  std::vector<float> wide(6);
  must(r.read("wide", 0, std::span<float>(wide)));
  EXPECT_THAT(wide, ElementsAre(0, 1, 2, 3, 4, 1e30f));
  std::vector<int32_t> whole(4);
  must(r.read("whole", 0, std::span<int32_t>(whole)));
  EXPECT_THAT(whole, ElementsAre(10, 11, 12, 13));
}

TEST_F(GgufTest, WrongTypesAndRangesAreNamed) {
  write_sample();
  const GgufReader r = must(GgufReader::open(path));
  EXPECT_THAT(r.text("a.integer").error().message, HasSubstr("'a.integer' is of type i64"));
  EXPECT_THAT(r.integer("a.texts").error().message, HasSubstr("'a.texts' is of type arr"));
  EXPECT_THAT(r.number("a.text").error().message, HasSubstr("of type str"));
  EXPECT_THAT(r.flag("a.number").error().message, HasSubstr("of type f64"));
  EXPECT_THAT(r.texts("a.integers").error().message, HasSubstr("of type array of i32"));
  EXPECT_THAT(r.integers("a.numbers").error().message, HasSubstr("of type array of f32"));
  EXPECT_THAT(r.numbers("a.number").error().message, HasSubstr("of type f64"));
  EXPECT_THAT(r.numbers("b").error().message, HasSubstr("no metadata 'b'"));
  EXPECT_FALSE(r.has("b"));
  std::vector<float> values(30);
  EXPECT_THAT(r.read("half", 1, std::span<float>(values)).error().message, HasSubstr("has 30"));
  EXPECT_FALSE(r.read("half", size_t(-10), std::span<float>(values)).ok());
  EXPECT_THAT(r.read("none", 0, std::span<float>(values)).error().message, HasSubstr("'none'"));
  EXPECT_FALSE(r.read("whole", 0, std::span<float>(values).first(2)).ok());
  std::vector<int32_t> integers(2);
  EXPECT_FALSE(r.read("wide", 0, std::span<int32_t>(integers)).ok());
}

TEST_F(GgufTest, ReadsWhatAnotherWriterWrote) {
  GgufEmitter other;
  other.set("u32", 7u);
  other.set("f32", 0.5f);
  other.set_bool("flag", true);
  other.add_tensor("t", {3, 2}, {1, 2, 3, 4, 5, 6});
  put_file(path, other.bytes());
  const GgufReader r = must(GgufReader::open(path));
  EXPECT_EQ(must(r.integer("u32")), 7);
  EXPECT_EQ(must(r.number("f32")), 0.5);
  EXPECT_TRUE(must(r.flag("flag")));
  EXPECT_THAT(r.find("t")->dims, ElementsAre(2, 3));
}

TEST_F(GgufTest, EveryTruncationIsRefused) {
  write_sample();
  // Shorter and shorter; the last bytes are padding.
  for (size_t n = std::filesystem::file_size(path) - 16; n-- > 0;) {
    std::filesystem::resize_file(path, n);
    const auto r = GgufReader::open(path);
    ASSERT_FALSE(r.ok()) << n;
    ASSERT_EQ(r.error().kind, ErrorKind::format) << n;
  }
}

// Every bit of the file in turn: opening and reading must end in a value or an error.
TEST_F(GgufTest, FlippedBitsDoNoHarm) {
  write_sample();
  size_t refused = 0;
  for_each_flip(path, [&] {
    const auto r = GgufReader::open(path);
    if (!r.ok() || !read_shape(*r).ok()) ++refused;
    if (!r.ok()) return;
    for (const TensorInfo& t : r->tensors()) {
      std::vector<float> values(std::min<size_t>(t.count(), 100));
      (void)r->read(t.name, 0, std::span<float>(values)).ok();
    }
  });
  const size_t bytes = std::filesystem::file_size(path);
  EXPECT_GT(refused, bytes / 10);
  EXPECT_LT(refused, bytes);
}

TEST_F(GgufTest, HugeClaimsAreRefusedBeforeAnythingIsAllocated) {
  GgufEmitter sound;
  sound.set_floats("array", {1, 2});
  sound.add_tensor("t", {4}, {1, 2, 3, 4});
  const Bytes bytes = sound.bytes();
  const auto with = [&](size_t at, uint64_t value) {
    Bytes changed = bytes;
    std::memcpy(&changed[at], &value, sizeof value);
    put_file(path, changed);
    return GgufReader::open(path);
  };
  ASSERT_TRUE(with(8, 1).ok());
  for (uint64_t huge : {uint64_t{1} << 20, uint64_t{1} << 40, uint64_t{1} << 62, ~uint64_t{0}}) {
    EXPECT_FALSE(with(8, huge).ok()) << "tensors";
    EXPECT_FALSE(with(16, huge).ok()) << "entries";
    EXPECT_FALSE(with(24, huge).ok()) << "length of the first key";
    const size_t array_length = 24 + 8 + 5 + 4 + 4;
    EXPECT_FALSE(with(array_length, huge).ok()) << "array";
    const size_t dimension = array_length + 8 + 8 + 8 + 1 + 4;
    EXPECT_FALSE(with(dimension, huge).ok()) << "dimension";
    EXPECT_FALSE(with(dimension + 8 + 4, huge).ok()) << "offset";
  }
}

TEST_F(GgufTest, OtherTypesOfTensorsAreNamed) {
  GgufEmitter sound;
  sound.add_tensor("t", {32}, std::vector<float>(32));
  Bytes bytes = sound.bytes();
  bytes[24 + 8 + 1 + 4 + 8] = 8;  // q8_0
  put_file(path, bytes);
  EXPECT_THAT(GgufReader::open(path).error().message, HasSubstr("tensor 't' has type q8_0"));
}

TEST_F(GgufTest, NothingAppearsUnlessFinished) {
  {
    GgufWriter w = must(GgufWriter::create(path));
    w.declare({"t", TensorType::f32, {2}});
    must(w.begin_data());
    must(w.write("t", 0, std::vector<float>{1}));
    EXPECT_THAT(w.finish().error().message, HasSubstr("1 of 2 values of tensor 't'"));
  }
  EXPECT_EQ(dir.count_files(), 0u);
  {
    GgufWriter w = must(GgufWriter::create(path));
    w.declare({"t", TensorType::f32, {4}});
    must(w.begin_data());
    must(w.write("t", 2, std::vector<float>{1, 2}));
    must(w.write("t", 0, std::vector<float>{1}));
    EXPECT_THAT(w.write("t", 1, std::vector<float>{1, 2}).error().message,
                HasSubstr("some of values 1 ... 3 of tensor 't' were written before"));
    EXPECT_FALSE(w.write("t", 0, std::vector<float>{1}).ok());
    EXPECT_FALSE(w.write("t", 3, std::vector<float>{1}).ok());
    EXPECT_THAT(w.finish().error().message, HasSubstr("3 of 4 values of tensor 't'"));
    must(w.write("t", 1, std::vector<float>{1}));
    must(w.finish());
  }
  must(write_text(path, "old"));
  { GgufWriter abandoned = must(GgufWriter::create(path)); }
  EXPECT_EQ(must(read_text(path)), "old");
  EXPECT_EQ(dir.count_files(), 1u);
  EXPECT_EQ(GgufWriter::create(dir.file("none/f.gguf")).error().kind, ErrorKind::io);
}

TEST_F(GgufTest, MisuseOfTheWriterIsNamed) {
  const auto begin = [&](const std::vector<TensorInfo>& tensors) {
    GgufWriter w = must(GgufWriter::create(path));
    for (const auto& t : tensors) w.declare(t);
    return w.begin_data();
  };
  const TensorInfo good{"t", TensorType::f16, {2}};
  EXPECT_THAT(begin({good, good}).error().message, HasSubstr("declared twice"));
  EXPECT_THAT(begin({{"t", TensorType::f32, {2, 0}}}).error().message, HasSubstr("none of them 0"));
  EXPECT_FALSE(begin({{"t", TensorType::f32, {1, 1, 1, 1, 1}}}).ok());
  EXPECT_FALSE(begin({{std::string(64, 'n'), TensorType::f32, {1}}}).ok());

  GgufWriter w = must(GgufWriter::create(path));
  w.declare(good);
  EXPECT_FALSE(w.write("t", 0, std::vector<float>{1}).ok());
  EXPECT_FALSE(w.finish().ok());
  must(w.begin_data());
  EXPECT_THAT(w.write("t", 1, std::vector<float>{1, 2}).error().message, HasSubstr("has 2"));
  EXPECT_THAT(w.write("u", 0, std::vector<float>{1}).error().message, HasSubstr("not declared"));
  EXPECT_THAT(w.write("t", 0, std::vector<int32_t>{1}).error().message, HasSubstr("numbers"));
}

TEST_F(GgufTest, HalvesThatOverflowAreErrors) {
  for (float bad : {65520.0f, -1e6f, std::numeric_limits<float>::infinity(), std::nanf("")}) {
    GgufWriter w = must(GgufWriter::create(path));
    w.declare({"k.3", TensorType::f16, {3}});
    must(w.begin_data());
    const auto written = w.write("k.3", 0, std::vector<float>{0, bad, 0});
    ASSERT_FALSE(written.ok()) << bad;
    EXPECT_EQ(written.error().kind, ErrorKind::numeric);
    EXPECT_THAT(written.error().message, HasSubstr("value 1 of tensor 'k.3'"));
    must(w.write("k.3", 0, std::vector<float>{65504, 1e-9f, -0.0f}));
  }
}

TEST_F(GgufTest, DamagedShapesAreRefused) {
  const auto read_changed = [&](const std::function<void(ModelShape&)>& change) {
    ModelShape shape = some_shape();
    change(shape);
    GgufWriter w = must(GgufWriter::create(path));
    write_shape(w, shape);
    must(w.begin_data());
    must(w.finish());
    return read_shape(must(GgufReader::open(path)));
  };
  ASSERT_TRUE(read_changed([](ModelShape&) {}).ok());
  const std::vector<std::function<void(ModelShape&)>> changes = {
      [](ModelShape& s) { s.layers.clear(); },
      [](ModelShape& s) { s.query_heads = 0; },
      [](ModelShape& s) { s.query_heads = 9, s.query_heads_by_layer.clear(); },
      [](ModelShape& s) { s.layers[1].kv_heads = 0; },
      [](ModelShape& s) { s.layers[1].kv_heads = -1; },
      [](ModelShape& s) { s.layers[0].key_dim = 1 << 20; },
      [](ModelShape& s) { s.layers[0].key_dim = 4; },  // fewer than the rotated ones
      [](ModelShape& s) { s.layers[2].layer = 1; },
      [](ModelShape& s) { s.layers[2].window = -1; },
      [](ModelShape& s) { s.layers[0].rope.magnitude = 0; },
      [](ModelShape& s) { s.layers[0].rope.frequency[1] = std::nanf(""); },
      [](ModelShape& s) { s.vocabulary = -1; },
      [](ModelShape& s) { s.layers[2].window = 0; },  // chunks of no length
      [](ModelShape& s) {
        s.empty_layers = {4, 1};
      },
      [](ModelShape& s) { s.empty_layers = {2}; },  // which is there
      [](ModelShape& s) { s.empty_layers = {-1}; },
      [](ModelShape& s) {
        s.query_heads_by_layer = {8, 4};
      },
      [](ModelShape& s) {
        s.query_heads_by_layer = {8, 6, 8};
      },
      [](ModelShape& s) {
        s.query_heads_by_layer = {8, 4, 16};
      },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    const auto r = read_changed(changes[i]);
    ASSERT_FALSE(r.ok()) << i;
    EXPECT_EQ(r.error().kind, ErrorKind::format) << i;
  }
}

}  // namespace
}  // namespace kvsplice::host
