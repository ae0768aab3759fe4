// Our GGUF files against ggml, which shares no code with src/gguf: each reads what the other
// writes, and both write the same bytes.
#include <ggml.h>
#include <gguf.h>
#include <gmock/gmock.h>

#include <memory>

#include "gguf/gguf_file.h"
#include "gguf/model_file.h"
#include "host/gguf_source.h"
#include "host/tiny_model_test.h"

namespace kvsplice::host {
namespace {

using ::kvsplice::testing::must;
using ::kvsplice::testing::TempDir;
using ::testing::ElementsAre;

struct Free {
  void operator()(gguf_context* c) const { gguf_free(c); }
  void operator()(ggml_context* c) const { ggml_free(c); }
};
using Header = std::unique_ptr<gguf_context, Free>;
using Tensors = std::unique_ptr<ggml_context, Free>;

// The same file by both writers: every kind of metadata, every type of tensor.
struct Sample {
  const std::vector<float> numbers = {0.5f, -2};
  const std::vector<int32_t> integers = {3, -1, 1 << 30};
  const std::vector<std::string> texts = {"x", "", "\u00e9t\u00e9"};
  const std::vector<float> halves = {0, 1, -65504, 6e-8f, 0.1f, -0.0f};
  const std::vector<float> small = {-128, 127, 1};

  void write(const std::string& path) const {
    auto w = must(gguf::GgufWriter::create(path));
    w.set("a", std::string("one"));
    w.set("again", int64_t{1});
    w.set("b", int64_t{-5});
    w.set("c", 0.1);
    w.set("d", true);
    w.set("again", false);
    w.set("e", texts);
    w.set("f", integers);
    w.set("g", numbers);
    w.set("h", std::vector<float>{});
    w.set("i", std::vector<std::string>{});
    w.declare({"wide", gguf::TensorType::f32, {2, 1}});
    w.declare({"half", gguf::TensorType::f16, {1, 1, 3, 2}});
    w.declare({"small", gguf::TensorType::i8, {1, 3, 1}});
    w.declare({"whole", gguf::TensorType::i32, {3}});
    must(w.begin_data());
    must(w.write("whole", 0, integers));
    must(w.write("small", 0, small));
    must(w.write("half", 0, halves));
    must(w.write("wide", 0, numbers));
    must(w.finish());
  }

  void write_with_ggml(const std::string& path) const {
    const Header file(gguf_init_empty());
    gguf_context* w = file.get();
    gguf_set_val_str(w, "general.architecture", "kvsplice");
    gguf_set_val_str(w, "general.type", "kvsplice");
    gguf_set_val_str(w, "a", "one");
    gguf_set_val_i64(w, "again", 1);
    gguf_set_val_i64(w, "b", -5);
    gguf_set_val_f64(w, "c", 0.1);
    gguf_set_val_bool(w, "d", true);
    gguf_set_val_bool(w, "again", false);
    std::vector<const char*> characters;
    for (const auto& text : texts) characters.push_back(text.c_str());
    gguf_set_arr_str(w, "e", characters.data(), 3);
    gguf_set_arr_data(w, "f", GGUF_TYPE_INT32, integers.data(), 3);
    gguf_set_arr_data(w, "g", GGUF_TYPE_FLOAT32, numbers.data(), 2);
    gguf_set_arr_data(w, "h", GGUF_TYPE_FLOAT32, nullptr, 0);
    gguf_set_arr_str(w, "i", nullptr, 0);
    const Tensors tensors(ggml_init({1 << 16, nullptr, false}));
    const auto add = [&](const char* name, ggml_type type, std::vector<int64_t> ne) {
      ggml_tensor* t = ggml_new_tensor(tensors.get(), type, int(ne.size()), ne.data());
      ggml_set_name(t, name);
      return t;
    };
    ggml_tensor* wide = add("wide", GGML_TYPE_F32, {1, 2});
    ggml_tensor* half = add("half", GGML_TYPE_F16, {2, 3, 1, 1});
    ggml_tensor* bytes = add("small", GGML_TYPE_I8, {1, 3, 1});
    ggml_tensor* whole = add("whole", GGML_TYPE_I32, {3});
    std::copy(numbers.begin(), numbers.end(), static_cast<float*>(wide->data));
    ggml_fp32_to_fp16_row(halves.data(), static_cast<ggml_fp16_t*>(half->data), 6);
    std::copy(small.begin(), small.end(), static_cast<int8_t*>(bytes->data));
    std::copy(integers.begin(), integers.end(), static_cast<int32_t*>(whole->data));
    for (const ggml_tensor* t : {wide, half, bytes, whole}) gguf_add_tensor(w, t);
    ASSERT_TRUE(gguf_write_to_file(w, path.c_str(), false));
  }
};

TEST(GgufCrossing, BothWriteTheSameBytes) {
  const TempDir dir;
  const Sample sample;
  sample.write(dir.file("ours"));
  sample.write_with_ggml(dir.file("theirs"));
  EXPECT_EQ(must(read_file(dir.file("ours"))), must(read_file(dir.file("theirs"))));
}

TEST(GgufCrossing, AFileWithoutTensorsIsTheSameToo) {
  const TempDir dir;
  auto ours = gguf::GgufWriter::in_memory();
  must(ours.begin_data());
  const Header theirs(gguf_init_empty());
  gguf_set_val_str(theirs.get(), "general.architecture", "kvsplice");
  gguf_set_val_str(theirs.get(), "general.type", "kvsplice");
  ASSERT_TRUE(gguf_write_to_file(theirs.get(), dir.file("theirs").c_str(), false));
  EXPECT_EQ(must(ours.finish_bytes()), must(read_file(dir.file("theirs"))));
}

TEST(GgufCrossing, GgmlReadsWhatWeWrite) {
  const TempDir dir;
  const Sample sample;
  sample.write(dir.file("ours"));
  const GgufSource file = must(GgufSource::open(dir.file("ours")));
  EXPECT_EQ(file.text_or("a", ""), "one");
  EXPECT_EQ(file.integer_or("b", 0), -5);
  EXPECT_EQ(file.integers_or_none("f"), sample.integers);
  ASSERT_NE(file.find("half"), nullptr);
  EXPECT_THAT(file.find("half")->ne, ElementsAre(2, 3, 1, 1));
  ASSERT_NE(file.find("whole"), nullptr);
  std::vector<int32_t> whole(3);
  must(file.read_bytes(file.find("whole")->offset, whole.data(), 12));
  EXPECT_EQ(whole, sample.integers);
}

TEST(GgufCrossing, WeReadWhatGgmlWrites) {
  const TempDir dir;
  const Sample sample;
  sample.write_with_ggml(dir.file("theirs"));
  const auto file = must(gguf::GgufReader::open(dir.file("theirs")));
  EXPECT_EQ(must(file.text("a")), "one");
  EXPECT_EQ(must(file.integer("b")), -5);
  EXPECT_EQ(must(file.number("c")), 0.1);
  EXPECT_TRUE(must(file.flag("d")));
  EXPECT_EQ(must(file.texts("e")), sample.texts);
  EXPECT_EQ(must(file.integers("f")), sample.integers);
  EXPECT_EQ(must(file.numbers("g")), sample.numbers);
  EXPECT_TRUE(must(file.numbers("h")).empty());
  EXPECT_THAT(file.find("half")->dims, ElementsAre(3, 2));
  std::vector<float> halves(6);
  must(file.read("half", 0, std::span<float>(halves)));
  EXPECT_EQ(halves[2], -65504);
  EXPECT_NEAR(halves[4], 0.1, 1e-4);
  std::vector<float> small(3);
  must(file.read("small", 0, std::span<float>(small)));
  EXPECT_EQ(small, sample.small);
}

TEST(GgufCrossing, TypesOfTensorsAreThoseOfGgml) {
  std::vector<uint32_t> known;
  for (const gguf::GgmlType& type : gguf::ggml_types()) {
    const auto number = static_cast<ggml_type>(type.number);
    known.push_back(type.number);
    EXPECT_EQ(type.block, ggml_blck_size(number)) << ggml_type_name(number);
    EXPECT_EQ(type.bytes, ggml_type_size(number)) << ggml_type_name(number);
  }
  for (uint32_t number = 0; number < GGML_TYPE_COUNT; ++number) {
    if (ggml_type_size(static_cast<ggml_type>(number)) == 0) continue;  // is used no more
    EXPECT_THAT(known, ::testing::Contains(number));
  }
}

// Every half there is, as ggml converts it.
TEST(GgufCrossing, HalvesMeanTheSame) {
  std::vector<uint16_t> bits;
  for (uint32_t b = 0; b < 65536; ++b) {
    if ((b & 0x7c00) != 0x7c00) bits.push_back(uint16_t(b));
  }
  std::vector<float> theirs(bits.size());
  ggml_fp16_to_fp32_row(bits.data(), theirs.data(), int64_t(bits.size()));
  auto w = gguf::GgufWriter::in_memory();
  w.declare({"half", gguf::TensorType::f16, {bits.size()}});
  must(w.begin_data());
  must(w.write("half", 0, theirs));
  const auto r = must(gguf::GgufReader::open(memory_source(must(w.finish_bytes())), "halves"));
  std::vector<uint16_t> stored(bits.size());
  must(r.read("half", 0, std::span<uint16_t>(stored)));
  EXPECT_EQ(stored, bits);
  std::vector<float> ours(bits.size());
  must(r.read("half", 0, std::span<float>(ours)));
  EXPECT_EQ(ours, theirs);
}

}  // namespace
}  // namespace kvsplice::host
