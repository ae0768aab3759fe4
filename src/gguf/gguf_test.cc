// GGUF files: what is written comes back, and what is damaged is refused without harm.
#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "core/half.h"
#include "core/limits.h"
#include "core/shape.h"
#include "gguf/gguf_file.h"
#include "gguf/gguf_kind.h"
#include "host/tiny_model_test.h"

namespace kvsplice::gguf {
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
  shape.layers[1].value_dim = 0;
  shape.layers[0].rope.first = 5;
  shape.layers.push_back({3, 1, 8, 8, 64, {Rope::Pairs::adjacent, {1, 0.1f}, 1}, true});
  shape.empty_layers = {1, 4};
  shape.query_heads_by_layer = {8, 4, 8};
  shape.recurrent = {{1, 6, 8}, {3, 6, 0}};
  shape.places = true;
  return shape;
}

class GgufTest : public ::testing::Test {
 protected:
  TempDir dir;
  std::string path = dir.file("f.gguf");

  void write_sample() {
    GgufWriter w = must(GgufWriter::create(path));
    fill(w);
    must(w.finish());
  }
  Bytes sample() const {
    GgufWriter w = GgufWriter::in_memory();
    fill(w);
    return must(w.finish_bytes());
  }
  // One of everything.
  void fill(GgufWriter& w) const {
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
    w.declare({"small", TensorType::i8, {1, 3}});
    w.declare({"whole", TensorType::i32, {4}});
    must(w.begin_data());
    // In any order and in pieces.
    must(w.write("whole", 1, std::vector<int32_t>{11, 12, 13}));
    must(w.write("half", 6, std::span<const float>(halves).subspan(6)));
    must(w.write("wide", 0, std::vector<float>{0, 1, 2, 3, 4, 1e30f}));
    must(w.write("half", 0, std::span<const float>(halves).first(6)));
    must(w.write("whole", 0, std::vector<int32_t>{10}));
    must(w.write("small", 0, std::vector<float>{-128, 0, 127}));
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
  EXPECT_EQ(r.tensors().size(), 4u);
  EXPECT_THAT(r.find("small")->dims, ElementsAre(3));  // GGUF drops what says nothing
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
  std::vector<float> small(3);
  must(r.read("small", 0, std::span<float>(small)));
  EXPECT_THAT(small, ElementsAre(-128, 0, 127));
}

TEST_F(GgufTest, ValuesAreReadAsTheyStand) {
  const Bytes bytes = sample();
  const GgufReader r = must(GgufReader::open(view_source(bytes), "bytes"));
  std::vector<int8_t> small(2);
  must(r.read("small", 1, std::span<int8_t>(small)));
  EXPECT_THAT(small, ElementsAre(0, 127));
  std::vector<uint16_t> bits(30);
  must(r.read("half", 0, std::span<uint16_t>(bits)));
  for (size_t i = 0; i < 30; ++i) EXPECT_EQ(bits[i], to_half(halves[i]));
  EXPECT_THAT(r.read("half", 0, std::span<int8_t>(small)).error().message,
              HasSubstr("tensor 'half' holds f16, i8 is wanted"));
  EXPECT_FALSE(r.read("small", 0, std::span<uint16_t>(bits).first(2)).ok());
  EXPECT_FALSE(r.read("small", 2, std::span<int8_t>(small)).ok());
}

TEST_F(GgufTest, ManyValuesAreConvertedInPieces) {
  std::vector<float> values(100000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = float(i % 255) - 127;
  GgufWriter w = GgufWriter::in_memory();
  for (const auto& [name, type] : {std::pair{"small", TensorType::i8}, {"half", TensorType::f16}}) {
    w.declare({name, type, {values.size()}});
  }
  must(w.begin_data());
  for (const char* name : {"small", "half"}) must(w.write(name, 0, values));
  const GgufReader r = must(GgufReader::open(memory_source(must(w.finish_bytes())), "bytes"));
  for (const char* name : {"small", "half"}) {
    std::vector<float> read(values.size() - 3);
    must(r.read(name, 3, std::span<float>(read)));
    EXPECT_TRUE(std::equal(read.begin(), read.end(), values.begin() + 3)) << name;
  }
}

TEST_F(GgufTest, AFileInMemoryIsTheSame) {
  write_sample();
  EXPECT_EQ(sample(), must(read_file(path)));
  GgufWriter in_memory = GgufWriter::in_memory();
  must(in_memory.begin_data());
  EXPECT_THAT(in_memory.finish().error().message, HasSubstr("finish_bytes()"));
  GgufWriter on_disk = must(GgufWriter::create(path));
  must(on_disk.begin_data());
  EXPECT_THAT(on_disk.finish_bytes().error().message, HasSubstr("finish()"));
}

TEST_F(GgufTest, AKeyThatIsSetAgainHasTheLastValue) {
  GgufWriter w = GgufWriter::in_memory();
  w.set("k", int64_t{1});
  w.set("k", std::string("two"));
  must(w.begin_data());
  EXPECT_EQ(must(must(GgufReader::open(memory_source(must(w.finish_bytes())), "")).text("k")),
            "two");
}

TEST_F(GgufTest, KindsAreTold) {
  GgufEmitter ours;
  ours.set_text("kvsplice.kind", "dump");
  put_file(path, ours.bytes());
  EXPECT_EQ(must(kind_of_gguf(path)), "dump");
  GgufEmitter model;
  model.set("kvsplice.kind", 3u);
  model.add_tensor("t", {32}, std::vector<float>(32));
  Bytes bytes = model.bytes();
  bytes[24 + 8 + 13 + 4 + 4 + 8 + 1 + 4 + 8] = 8;  // q8_0
  put_file(path, bytes);
  EXPECT_EQ(must(kind_of_gguf(path)), "");
  put_file(path, Bytes(100));
  EXPECT_THAT(kind_of_gguf(path).error().message, HasSubstr("is not a GGUF file"));
  EXPECT_EQ(kind_of_gguf(dir.file("none")).error().kind, ErrorKind::io);
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

TEST_F(GgufTest, EveryTruncationInMemoryIsRefused) {
  const Bytes bytes = sample();
  for (size_t n = bytes.size() - 16; n-- > 0;) {  // the last bytes are padding
    const Bytes cut(bytes.begin(), bytes.begin() + ptrdiff_t(n));
    const auto r = GgufReader::open(view_source(cut), "cut");
    ASSERT_FALSE(r.ok()) << n;
    ASSERT_EQ(r.error().kind, ErrorKind::format) << n;
  }
}

// All that a reader tells of a file.
void read_all(const GgufReader& r) {
  (void)read_shape(r).ok();
  for (const char* key : {"a.text", "a.integer", "a.number", "a.flag", "a.texts", "a.integers"}) {
    (void)r.text(key).ok(), (void)r.integer(key).ok(), (void)r.number(key).ok();
    (void)r.flag(key).ok(), (void)r.texts(key).ok(), (void)r.integers(key).ok();
  }
  for (const TensorInfo& t : r.tensors()) {
    std::vector<float> values(std::min<size_t>(t.count(), 100));
    (void)r.read(t.name, 0, std::span<float>(values)).ok();
    (void)r.read(t.name, t.count() - values.size(), std::span<float>(values)).ok();
  }
}

TEST_F(GgufTest, EveryBitOfTheHeaderFlippedDoesNoHarm) {
  Bytes bytes = sample();
  const size_t header = bytes.size() - 32 - 64 - 32 - 32;
  size_t refused = 0;
  for (size_t i = 0; i < 8 * header; ++i) {
    const auto bit = static_cast<uint8_t>(1 << i % 8);
    bytes[i / 8] ^= bit;
    const auto r = GgufReader::open(view_source(bytes), "flipped");
    if (r.ok()) read_all(*r);
    if (!r.ok()) ++refused;
    bytes[i / 8] ^= bit;
  }
  EXPECT_GT(refused, header);
  EXPECT_LT(refused, 8 * header);
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

// A file of one tensor, "t" of 4 floats, and what else is put in.
Error refused(const GgufEmitter& emitter) {
  const auto r = GgufReader::open(memory_source(emitter.bytes()), "file");
  return r.ok() ? Error{ErrorKind::usage, "it is read"} : r.error();
}

TEST_F(GgufTest, AlignmentIsAPowerOfTwo) {
  const auto error = [](const auto& value) {
    GgufEmitter file;
    file.set("general.alignment", value);
    file.add_tensor("t", {4}, {1, 2, 3, 4});
    return refused(file).message;
  };
  EXPECT_EQ(error(32u), "it is read");
  EXPECT_EQ(error(16u), "it is read");
  EXPECT_THAT(error(0u), HasSubstr("'general.alignment' is 0, a power of 2 is wanted"));
  EXPECT_THAT(error(48u), HasSubstr("is 48"));
  EXPECT_THAT(error(1u << 31), HasSubstr("tensor 't' needs 16 bytes at 2147483648"));
  EXPECT_THAT(error(32), HasSubstr("'general.alignment' is of type i32, u32 is wanted"));
  GgufWriter w = GgufWriter::in_memory();
  w.set("general.alignment", int64_t{64});
  EXPECT_THAT(w.begin_data().error().message, HasSubstr("'general.alignment'"));
}

TEST_F(GgufTest, NamesThatAreThereTwiceAreRefused) {
  GgufEmitter keys;
  keys.set("k", 1u);
  keys.set("l", 1u);
  keys.set("k", 1.0f);
  EXPECT_THAT(refused(keys).message, HasSubstr("the key 'k' is there twice"));
  GgufEmitter tensors;
  for (const char* name : {"t", "s", "t"}) tensors.add_tensor(name, {1}, {1});
  EXPECT_THAT(refused(tensors).message, HasSubstr("tensor 't' is there twice"));
  GgufEmitter nameless;
  nameless.set("", 1u);
  EXPECT_THAT(refused(nameless).message, HasSubstr("a key is empty"));
  GgufEmitter long_name;
  long_name.add_tensor(std::string(64, 'n'), {1}, {1});
  EXPECT_THAT(refused(long_name).message, HasSubstr("has too long a name"));
}

TEST_F(GgufTest, DimensionsAreOneToFourAndNotNothing) {
  for (const auto& dims : {std::vector<uint64_t>{0},
                           {4, 0},
                           {1, 1, 1, 1, 4},
                           {uint64_t{1} << 32, uint64_t{1} << 32}}) {
    GgufEmitter file;
    file.add_tensor("t", dims, {1, 2, 3, 4});
    EXPECT_EQ(refused(file).kind, ErrorKind::format);
  }
  GgufEmitter single;
  single.add_tensor("t", {}, {1});
  const GgufReader r = must(GgufReader::open(memory_source(single.bytes()), "file"));
  EXPECT_THAT(r.find("t")->dims, ElementsAre(1));
}

TEST_F(GgufTest, VersionsTwoAndThreeAreRead) {
  Bytes bytes = sample();
  for (uint8_t version = 0; version < 6; ++version) {
    bytes[4] = version;
    const auto r = GgufReader::open(view_source(bytes), "file");
    const bool read = version == 2 || version == 3;
    ASSERT_EQ(r.ok(), read);
    EXPECT_TRUE(read || r.error().kind == ErrorKind::unsupported);
  }
}

TEST_F(GgufTest, IntegersOfAllTypesAreReadIfTheyFit) {
  // The first bytes of an i64 are an integer of a smaller type.
  GgufWriter w = GgufWriter::in_memory();
  w.set("integer", int64_t{-2});
  must(w.begin_data());
  Bytes bytes = must(w.finish_bytes());
  const std::string key = "integer";
  const auto at = std::search(bytes.begin(), bytes.end(), key.begin(), key.end()) + 7;
  const auto read = [&](uint8_t type, size_t size) {
    Bytes changed(bytes.begin(), at);
    changed.insert(changed.end(), {type, 0, 0, 0});
    changed.insert(changed.end(), at + 4, at + 4 + ptrdiff_t(size));
    return must(GgufReader::open(memory_source(changed), "file")).integer(key);
  };
  EXPECT_EQ(must(read(0, 1)), 254);
  EXPECT_EQ(must(read(1, 1)), -2);
  EXPECT_EQ(must(read(2, 2)), 65534);
  EXPECT_EQ(must(read(3, 2)), -2);
  EXPECT_EQ(must(read(4, 4)), 4294967294);
  EXPECT_EQ(must(read(5, 4)), -2);
  EXPECT_EQ(must(read(11, 8)), -2);
  EXPECT_THAT(read(10, 8).error().message, HasSubstr("'integer' is 18446744073709551614"));
  EXPECT_THAT(read(7, 1).error().message, HasSubstr("'integer' is of type bool"));
}

// Has a size and nothing else.
class Unreadable final : public ByteSource {
 public:
  explicit Unreadable(uint64_t size) : size_(size) {}
  uint64_t size() const override { return size_; }
  Result<> read(uint64_t, void*, size_t) const override {
    return Error{ErrorKind::io, "the line is dead"};
  }

 private:
  uint64_t size_;
};

TEST_F(GgufTest, ErrorsOfASourceArePassedOn) {
  const auto r = GgufReader::open(std::make_shared<Unreadable>(100), "far away");
  EXPECT_EQ(r.error().kind, ErrorKind::io);
  EXPECT_EQ(r.error().message, "the line is dead");
  EXPECT_FALSE(GgufReader::open(std::make_shared<Unreadable>(~uint64_t{0}), "").ok());
}

// A long file of a short header, then zeros.
class Long final : public ByteSource {
 public:
  explicit Long(Bytes start) : start_(std::move(start)) {}
  uint64_t size() const override { return uint64_t{1} << 40; }
  Result<> read(uint64_t offset, void* out, size_t n) const override {
    std::memset(out, 0, n);
    loaded_ += n;
    for (uint64_t i = offset; i < std::min<uint64_t>(offset + n, start_.size()); ++i) {
      static_cast<uint8_t*>(out)[i - offset] = start_[i];
    }
    return {};
  }
  uint64_t loaded() const { return loaded_; }

 private:
  Bytes start_;
  mutable uint64_t loaded_ = 0;
};

TEST_F(GgufTest, LongHeadersAreRefusedBeforeTheyAreLoaded) {
  GgufEmitter sound;
  sound.set_floats("array", {1, 2});
  Bytes bytes = sound.bytes();
  const uint64_t count = uint64_t{1} << 30;
  std::memcpy(&bytes[24 + 8 + 5 + 4 + 4], &count, sizeof count);
  const auto source = std::make_shared<Long>(bytes);
  EXPECT_THAT(GgufReader::open(source, "long").error().message,
              HasSubstr("its header has more than 268435456 bytes"));
  EXPECT_LT(source->loaded(), 10000u);
  GgufWriter w = GgufWriter::in_memory();
  w.set("long", std::string(limits::kGgufHeader, 'x'));
  EXPECT_THAT(w.begin_data().error().message, HasSubstr("at most 268435456 are read"));
}

TEST_F(GgufTest, OtherTypesOfTensorsAreNamed) {
  GgufEmitter sound;
  sound.add_tensor("t", {32}, std::vector<float>(32));
  Bytes bytes = sound.bytes();
  bytes[24 + 8 + 1 + 4 + 8] = 8;  // q8_0
  put_file(path, bytes);
  EXPECT_THAT(GgufReader::open(path).error().message, HasSubstr("tensor 't' has type 8; f32 (0)"));
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
      [](ModelShape& s) { s.layers[0].rope.first = 59; },
      [](ModelShape& s) { s.layers[0].rope.first = -1; },
      [](ModelShape& s) { s.layers[0].value_dim = -1; },
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
      [](ModelShape& s) { std::swap(s.recurrent[0], s.recurrent[1]); },
      [](ModelShape& s) { s.recurrent[0].layer = -1; },
      [](ModelShape& s) { s.recurrent[1].s = size_t{limits::kStateValues} + 1; },
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
}  // namespace kvsplice::gguf
