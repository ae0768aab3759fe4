// Small files that claim a lot: refused before memory is taken for the claim.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "../conformance/every_variant.h"
#include "allocations.h"
#include "codec/packed_integers.h"
#include "core/file.h"
#include "core/limits.h"
#include "extract/dump_file.h"
#include "session/generated_cells.h"

namespace kvsplice {
namespace {

using memory::PeakMemory;
using session::Index;
using session::Record;
using session::RecordKind;
using session::SessionInfo;
using session::TemporaryFile;
using testing::HasSubstr;

constexpr size_t kMega = size_t{1} << 20;

// 30 layers of 192 keys and 192 values: 23 kB a token.
ModelShape wide_shape() {
  ModelShape shape = codec::make_shape(std::vector<codec::HeadShape>(30, {3, 64, 64}));
  shape.query_heads = 3;
  return shape;
}

SessionInfo info_of(const ModelShape& shape) {
  SessionInfo info;
  info.model = shape.fingerprint;
  info.block_tokens = limits::kBlockTokens;
  info.layers = shape.layers;
  for (LayerShape& l : info.layers) l.rope = {};
  return info;
}

// A session of these records, whose index is what `tell` makes of the true one.
template <class Tell>
Bytes session_bytes(const SessionInfo& info, const std::vector<std::pair<size_t, Bytes>>& payloads,
                    const Tell& tell) {
  ByteWriter out;
  out.put_bytes(write_header(info));
  Index index;
  for (const auto& [count, payload] : payloads) {
    const Record record{RecordKind::exact, out.size(), payload.size(), index.tokens(), count};
    out.put_bytes(write_record(record, payload));
    index.records.push_back(record);
  }
  tell(index);
  const size_t place = out.size();
  const Bytes payload = write_index(index);
  Record record;
  record.kind = RecordKind::index;
  record.length = payload.size();
  out.put_bytes(write_record(record, payload));
  out.put_bytes(session::write_trailer(place, out.size() + session::kTrailer));
  return out.take();
}

class Claims : public testing::Test {
 protected:
  // The error, having taken no more memory than `most`.
  Error refused(const ModelShape& shape, const Bytes& bytes, size_t most) {
    EXPECT_TRUE(write_file(file_.path(), bytes).ok());
    const PeakMemory peak;
    const auto read = [&]() -> Result<> {
      KVS_ASSIGN(const auto session,
                 session::Session::open(file_.path(), {shape, nullptr, nullptr}));
      return session.read(0, session.size(), {}).ok() ? Result<>()
                                                      : Error{ErrorKind::format, "in a record"};
    }();
    EXPECT_LT(peak.bytes(), most);
    EXPECT_FALSE(read.ok());
    return read.ok() ? Error{ErrorKind::usage, ""} : read.error();
  }

  const TemporaryFile file_{".kvz"};
};

TEST_F(Claims, ManyEntriesOfOneRecord) {
  const ModelShape shape = wide_shape();
  const Bytes bytes = session_bytes(info_of(shape), {{4096, Bytes(5000, 1)}}, [](Index& index) {
    index.records.resize(1000, index.records[0]);
  });
  EXPECT_THAT(refused(shape, bytes, 2 * kMega).message, HasSubstr("no sound index"));
}

TEST_F(Claims, RecordsThatOverlapOrStandInAnotherOrder) {
  const ModelShape shape = wide_shape();
  const std::vector<std::pair<size_t, Bytes>> two = {{100, Bytes(200, 1)}, {100, Bytes(200, 1)}};
  const auto opens = [&](auto tell) {
    EXPECT_TRUE(write_file(file_.path(), session_bytes(info_of(shape), two, tell)).ok());
    return session::SessionReader::open(file_.path()).ok();
  };
  EXPECT_TRUE(opens([](Index&) {}));
  EXPECT_FALSE(opens([](Index& i) { i.records[1].offset -= 1; }));
  EXPECT_FALSE(opens([](Index& i) { std::swap(i.records[0].offset, i.records[1].offset); }));
  EXPECT_FALSE(opens([](Index& i) { i.records[1].length += 1; }));
  EXPECT_FALSE(opens([](Index& i) { i.records[0].offset = 0; }));
}

TEST_F(Claims, FewerBytesThanTokens) {
  const ModelShape shape = wide_shape();
  const Bytes bytes = session_bytes(info_of(shape), {{100, Bytes(100, 1)}},
                                    [](Index& index) { index.records[0].count = 101; });
  EXPECT_THAT(refused(shape, bytes, 2 * kMega).message, HasSubstr("no sound index"));
}

// Everything is as it should be but the cells: 24,000 tokens would be half a gigabyte.
TEST_F(Claims, RecordsOfTokensAlone) {
  const ModelShape shape = wide_shape();
  const std::vector<std::pair<size_t, Bytes>> payloads(6, {4000, Bytes(4100, 1)});
  const Bytes bytes = session_bytes(info_of(shape), payloads, [](Index&) {});
  EXPECT_THAT(refused(shape, bytes, 70 * kMega).message, HasSubstr("in a record"));
}

TEST_F(Claims, ACallersLimitIsKept) {
  const ModelShape shape = session::small_shape();
  const session::Coder coder{shape, nullptr, nullptr};
  const KvBlock<uint16_t> cells = session::generate_cells(shape, 0, 100, 1);
  ASSERT_TRUE(session::pack(file_.path(), cells, {}, coder, {}, {}).ok());
  const auto session = session::Session::open(file_.path(), coder).value();
  EXPECT_TRUE(session.read(0, 100, {}, {.tokens = 100, .bytes = 115200}).ok());
  for (const ReadLimits& limits : {ReadLimits{.tokens = 99}, ReadLimits{.bytes = 115199}}) {
    const auto read = session.read(0, 100, {}, limits);
    ASSERT_FALSE(read.ok());
    EXPECT_EQ(read.error().kind, ErrorKind::memory);
    EXPECT_THAT(read.error().message, HasSubstr("the caller's limit is"));
  }
}

// A codec file of these arrays.
void write_codec(const std::string& path, const ModelShape& shape, const std::string& pipeline,
                 const std::vector<int32_t>& versions,
                 const std::vector<std::pair<std::string, codec::StateArray>>& arrays) {
  auto file = gguf::GgufWriter::create(path).value();
  file.set("kvsplice.kind", std::string("codec"));
  file.set("kvsplice.codec.format", int64_t{1});
  file.set("kvsplice.codec.pipeline", pipeline);
  file.set("kvsplice.codec.stage_versions", versions);
  file.set("kvsplice.codec.calibration_tokens", int64_t{1});
  gguf::write_shape(file, shape);
  const auto type_of = [](codec::Storage storage) {
    return storage == codec::Storage::i8    ? gguf::TensorType::i8
           : storage == codec::Storage::f16 ? gguf::TensorType::f16
                                            : gguf::TensorType::f32;
  };
  for (const auto& [name, array] : arrays) file.declare({name, type_of(array.storage), array.dims});
  ASSERT_TRUE(file.begin_data().ok());
  for (const auto& [name, array] : arrays) {
    ASSERT_TRUE(file.write(name, 0, std::span<const float>(array.values)).ok());
  }
  ASSERT_TRUE(file.finish().ok());
}

std::vector<int32_t> versions_of(const std::string& pipeline) {
  const codec::CodecText text = codec::parse_codec(pipeline).value();
  std::vector<int32_t> versions;
  for (Kind kind : {Kind::key, Kind::value}) {
    for (const auto& s : text.of(kind)) versions.push_back(codec::find_stage(s.name)->version);
  }
  return versions;
}

codec::StateArray array_of(size_t n, float value, codec::Storage storage) {
  return {{n}, std::vector<float>(n, value), storage};
}

class CodecClaims : public testing::Test {
 protected:
  // The error, having taken no more memory than `most`.
  Error refused(size_t most) const {
    const PeakMemory peak;
    const auto loaded = codec::Codec::load(file_.path());
    EXPECT_LT(peak.bytes(), most);
    EXPECT_FALSE(loaded.ok());
    if (loaded.ok()) return {ErrorKind::usage, ""};
    EXPECT_EQ(loaded.error().kind, ErrorKind::format) << loaded.error().message;
    return loaded.error();
  }

  const TemporaryFile file_{".gguf"};
};

// Bases of 64 MB each whose codes are one byte.
TEST_F(CodecClaims, WideBases) {
  const ModelShape shape = codec::make_shape(std::vector<codec::HeadShape>(8, {1, 4096, 4096}));
  const std::string pipeline = "klt(stored=packed) | step | range";
  std::vector<std::pair<std::string, codec::StateArray>> arrays;
  for (int l = 0; l < 8; ++l) {
    for (const char kind : {'k', 'v'}) {
      const std::string start = fmt::format("{}.{}.0.", kind, l);
      arrays.emplace_back(start + "mean", array_of(4096, 0, codec::Storage::i8));
      arrays.emplace_back(start + "sizes", array_of(2, 4096, codec::Storage::f32));
      arrays.emplace_back(start + "codes", array_of(1, 0, codec::Storage::i8));
    }
  }
  write_codec(file_.path(), shape, pipeline, versions_of(pipeline), arrays);
  EXPECT_THAT(refused(4 * kMega).message, HasSubstr("packed integers"));
}

// The same with a sound head: the right number, a model, and too few bytes for the codes.
TEST_F(CodecClaims, MorePackedIntegersThanTheirBytesHold) {
  const ModelShape shape = codec::make_shape({{1, 4096, 4096}});
  const std::string pipeline = "klt(stored=packed) | step | range";
  const codec::StateArray good =
      codec::pack_integers(std::vector<float>(size_t{4096} * 4096, 0.f), 4096);
  for (const size_t bytes : {600, 1200, 2000}) {
    codec::StateArray cut = good;
    cut.values.resize(bytes);
    cut.dims = {bytes};
    std::vector<std::pair<std::string, codec::StateArray>> arrays;
    for (const char* start : {"k.0.0.", "v.0.0."}) {
      arrays.emplace_back(std::string(start) + "mean", array_of(4096, 0, codec::Storage::i8));
      arrays.emplace_back(std::string(start) + "sizes", array_of(2, 4096, codec::Storage::f32));
      arrays.emplace_back(std::string(start) + "codes", cut);
    }
    write_codec(file_.path(), shape, pipeline, versions_of(pipeline), arrays);
    EXPECT_THAT(refused(4 * kMega).message, HasSubstr("packed integers")) << bytes;
  }
}

TEST_F(CodecClaims, WeightsOfManyInputs) {
  const ModelShape shape = codec::make_shape({{4, 4096, 4096}});
  const std::string pipeline = "layers | step | range";
  std::vector<std::pair<std::string, codec::StateArray>> arrays;
  for (const char* start : {"k.0.0.", "v.0.0."}) {
    arrays.emplace_back(std::string(start) + "bias", array_of(16384, 0, codec::Storage::f32));
    arrays.emplace_back(std::string(start) + "scale", array_of(8000, 1, codec::Storage::f32));
    arrays.emplace_back(std::string(start) + "input_scale",
                        array_of(16000, 1, codec::Storage::f16));
    arrays.emplace_back(std::string(start) + "codes", array_of(1, 0, codec::Storage::i8));
  }
  write_codec(file_.path(), shape, pipeline, versions_of(pipeline), arrays);
  EXPECT_THAT(refused(8 * kMega).message, HasSubstr("packed integers"));
}

TEST_F(CodecClaims, ManyLayersOfManyStages) {
  const ModelShape shape = codec::make_shape(std::vector<codec::HeadShape>(4096, {1, 2, 2}));
  std::string pipeline;
  for (int i = 0; i < 31; ++i) pipeline += "hadamard | ";
  pipeline += "uniform";
  write_codec(file_.path(), shape, pipeline, versions_of(pipeline), {});
  EXPECT_THAT(refused(16 * kMega).message, HasSubstr("stages for the keys and values of 4096"));
}

TEST_F(CodecClaims, LongPipelines) {
  const ModelShape shape = codec::usual_shape();
  std::string pipeline = "hadamard";
  for (int i = 0; i < 40; ++i) pipeline += " | hadamard";
  write_codec(file_.path(), shape, pipeline, {}, {});
  EXPECT_THAT(refused(kMega).message, HasSubstr("a pipeline of 41 stages; at most 32"));
  pipeline = "uniform(" + std::string(100000, ',') + ")";
  write_codec(file_.path(), shape, pipeline, {}, {});
  EXPECT_THAT(refused(2 * kMega).message, HasSubstr("a pipeline of 100009 characters; at most"));
}

TEST_F(CodecClaims, MoreValuesThanAnyModelHas) {
  for (const codec::HeadShape& heads :
       {codec::HeadShape{4096, 4096, 1}, {1, 5000, 1}, {5000, 1, 1}}) {
    write_codec(file_.path(), codec::make_shape({heads}), "f16", {1, 1}, {});
    (void)refused(2 * kMega);
  }
  ModelShape shape = codec::make_shape(std::vector<codec::HeadShape>(40, {4096, 1, 32}));
  shape.query_heads = 4096;
  write_codec(file_.path(), shape, "f16", {1, 1}, {});
  EXPECT_THAT(refused(2 * kMega).message, HasSubstr("values per token"));
}

// Any stage's arrays in a file that says the model is far wider, or has far more layers.
class EveryStage : public codec::EveryVariant {};

TEST_P(EveryStage, ClaimsOfTheShapeAreCheckedAgainstTheArrays) {
  const TemporaryFile file(".gguf");
  std::vector<std::pair<std::string, codec::StateArray>> arrays;
  size_t bytes = 0;
  for (const auto& unit : codec().units()) {
    for (size_t s = 0; s < unit.stages().size(); ++s) {
      for (const auto& [name, array] : unit.stages()[s]->save()) {
        const std::string kind = unit.unit().kind == Kind::key ? "k" : "v";
        const std::string layer = unit.unit().layer < 0 ? "all" : std::to_string(unit.unit().layer);
        arrays.emplace_back(fmt::format("{}.{}.{}.{}", kind, layer, s, name), array);
        bytes += array.values.size() * sizeof(float);
      }
    }
  }
  for (const bool wider : {true, false}) {
    ModelShape shape = codec::usual_shape();
    if (wider) {
      for (LayerShape& l : shape.layers) l.kv_heads = shape.query_heads = 4096;
    } else {
      shape = codec::make_shape(std::vector<codec::HeadShape>(1000, {2, 32, 32}));
    }
    write_codec(file.path(), shape, pipeline(), versions_of(pipeline()), arrays);
    const PeakMemory peak;
    (void)codec::Codec::load(file.path()).ok();  // stages that learn little may well take it
    EXPECT_LT(peak.bytes(), 8 * kMega + 10 * bytes) << (wider ? "wider" : "more layers");
  }
}

INSTANTIATE_TEST_SUITE_P(All, EveryStage, testing::ValuesIn(codec::all_subjects()),
                         codec::subject_name);

TEST_F(CodecClaims, ACallersLimitIsKept) {
  const codec::Codec& codec = codec::usual_codec("klt | step | range");
  ASSERT_TRUE(codec.save(file_.path()).ok());
  EXPECT_TRUE(codec::Codec::load(file_.path(), {.bytes = kMega}).ok());
  const auto loaded = codec::Codec::load(file_.path(), {.bytes = 1000});
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(loaded.error().kind, ErrorKind::memory);
}

class DumpClaims : public testing::Test {
 protected:
  // A dump of one token that says it has others.
  void write(const std::vector<int32_t>& tokens, const std::vector<std::string>& signals) const {
    auto file = gguf::GgufWriter::create(file_.path()).value();
    file.set("kvsplice.kind", std::string("dump"));
    file.set("kvsplice.dump.format", int64_t{1});
    file.set("kvsplice.dump.synthetic", false);
    file.set("kvsplice.dump.layers", std::vector<int32_t>{0});
    file.set("kvsplice.dump.heads", std::vector<int32_t>{0});
    file.set("kvsplice.dump.signals", signals);
    file.set("kvsplice.dump.text.names", std::vector<std::string>(tokens.size(), "t"));
    file.set("kvsplice.dump.text.hashes", std::vector<std::string>(tokens.size(), "h"));
    file.set("kvsplice.dump.text.tokens", tokens);
    gguf::write_shape(file, codec::make_shape({{1, 8, 8}}));
    file.declare({"tokens", gguf::TensorType::i32, {1}});
    file.declare({"positions", gguf::TensorType::i32, {1}});
    file.declare({"k.0", gguf::TensorType::f16, {8}});
    ASSERT_TRUE(file.begin_data().ok());
    const std::vector<int32_t> zero = {0};
    ASSERT_TRUE(file.write("tokens", 0, std::span<const int32_t>(zero)).ok());
    ASSERT_TRUE(file.write("positions", 0, std::span<const int32_t>(zero)).ok());
    ASSERT_TRUE(file.write("k.0", 0, std::span<const float>(std::vector<float>(8))).ok());
    ASSERT_TRUE(file.finish().ok());
  }

  const TemporaryFile file_{".gguf"};
};

TEST_F(DumpClaims, TokensAreCountedInTheFile) {
  write({1}, {"k"});
  ASSERT_TRUE(extract::Dump::open(file_.path()).ok());
  EXPECT_EQ(extract::Dump::open(file_.path(), {.tokens = 0}).error().kind, ErrorKind::memory);
  for (const auto& tokens :
       {std::vector<int32_t>{2147483647}, std::vector<int32_t>(1000, 1 << 30)}) {
    write(tokens, {"k"});
    const PeakMemory peak;
    EXPECT_FALSE(extract::Dump::open(file_.path()).ok());
    EXPECT_LT(peak.bytes(), kMega);
  }
}

TEST_F(DumpClaims, ASignalIsNamedOnce) {
  write({1}, {"k", "k"});
  EXPECT_THAT(extract::Dump::open(file_.path()).error().message, HasSubstr("twice"));
}

}  // namespace
}  // namespace kvsplice
