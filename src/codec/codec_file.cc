// codec.gguf: the text, the shape and fingerprint of the model, and one tensor per fitted array,
// named <k|v>.<layer|all>.<stage index>.<array>. docs/codecs.md lists the metadata.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>

#include "codec/codec.h"
#include "core/file_hash.h"
#include "core/limits.h"
#include "core/memory.h"
#include "core/threads.h"
#include "gguf/gguf_file.h"

namespace kvsplice::codec {

size_t bytes_of(Storage storage) {
  switch (storage) {
    case Storage::f32:
      return 4;
    case Storage::f16:
      return 2;
    case Storage::i8:
      return 1;
  }
  return 0;
}

size_t bytes_of(const State& state) {
  size_t bytes = 0;
  for (const auto& [name, array] : state) bytes += array.values.size() * bytes_of(array.storage);
  return bytes;
}

namespace {

std::string prefix(const Unit& unit, size_t stage) {
  const char kind = unit.kind == Kind::key ? 'k' : 'v';
  return unit.layer < 0 ? fmt::format("{}.all.{}.", kind, stage)
                        : fmt::format("{}.{}.{}.", kind, unit.layer, stage);
}

// Of the keys' stages, then of the values'.
std::vector<int32_t> versions(const CodecText& text, const std::vector<UnitCoder>& units) {
  std::vector<int32_t> list;
  for (Kind kind : {Kind::key, Kind::value}) {
    const auto unit = std::find_if(units.begin(), units.end(),
                                   [&](const UnitCoder& u) { return u.unit().kind == kind; });
    if (unit == units.end()) {  // no layer has values
      for (const StageText& stage : text.of(kind)) {
        list.push_back(find_stage(stage.name)->version);
      }
      continue;
    }
    const std::vector<int>& own = unit->pipeline().versions;
    list.insert(list.end(), own.begin(), own.end());
  }
  return list;
}

// Error unless this program reads the versions of all stages, keys' before values'.
Result<> check_versions(const CodecText& text, std::span<const int32_t> stored) {
  if (stored.size() != text.key.size() + text.value.size()) {
    return Error{ErrorKind::format, fmt::format("{} versions of stages for {}", stored.size(),
                                                text.key.size() + text.value.size())};
  }
  for (Kind kind : {Kind::key, Kind::value}) {
    for (const StageText& stage : text.of(kind)) {
      const StageInfo& info = *find_stage(stage.name);
      const int32_t version = stored.front();
      stored = stored.subspan(1);
      if (version >= info.oldest && version <= info.version) continue;
      return Error{ErrorKind::unsupported,
                   fmt::format("the stage '{}' of the codec has version {}; this program reads "
                               "{} ... {}",
                               info.name, version, info.oldest, info.version)};
    }
  }
  return {};
}

gguf::TensorType type_of(Storage storage) {
  switch (storage) {
    case Storage::f32:
      return gguf::TensorType::f32;
    case Storage::f16:
      return gguf::TensorType::f16;
    case Storage::i8:
      return gguf::TensorType::i8;
  }
  return gguf::TensorType::f32;
}

Storage storage_of(gguf::TensorType type) {
  if (type == gguf::TensorType::f16) return Storage::f16;
  return type == gguf::TensorType::i8 ? Storage::i8 : Storage::f32;
}

using Tensors = std::map<std::string, gguf::TensorInfo>;

// What the names of the embedding basis' arrays start with.
const std::string kBasis = "embedding.";

// The arrays whose names start with `start`.
Result<State> read_state(const gguf::GgufReader& file, const Tensors& tensors,
                         const std::string& start) {
  State state;
  for (auto at = tensors.lower_bound(start); at != tensors.end(); ++at) {
    const gguf::TensorInfo& tensor = at->second;
    if (tensor.name.rfind(start, 0) != 0) break;
    StateArray array{tensor.dims, std::vector<float>(tensor.count()), storage_of(tensor.type)};
    KVS_TRY(file.read(tensor.name, 0, std::span<float>(array.values)));
    for (float v : array.values) {
      if (!std::isfinite(v)) {
        return Error{ErrorKind::format, fmt::format("{} holds {}", tensor.name, v)};
      }
    }
    state.emplace(tensor.name.substr(start.size()), std::move(array));
  }
  return state;
}

Result<> load_unit(const gguf::GgufReader& file, const Tensors& tensors, UnitCoder& unit,
                   std::atomic<size_t>& arrays) {
  for (size_t s = 0; s < unit.pipeline().size(); ++s) {
    KVS_ASSIGN(const State state, read_state(file, tensors, prefix(unit.unit(), s)));
    KVS_TRY(unit.load(s, state));
    arrays += state.size();
  }
  return {};
}

Result<EmbeddingBasis> load_basis(const gguf::GgufReader& file, const Tensors& tensors,
                                  size_t directions, const ModelShape& shape,
                                  std::atomic<size_t>& arrays) {
  if (directions == 0) return EmbeddingBasis();
  KVS_ASSIGN(const State state, read_state(file, tensors, kBasis));
  arrays += state.size();
  return EmbeddingBasis::load(state, directions, size_t(shape.embedding_dim));
}

// arrays: how many have been read; in the end they are all there are.
Result<> load_units(const gguf::GgufReader& file, const Tensors& tensors,
                    std::vector<UnitCoder>& units, std::atomic<size_t>& arrays) {
  KVS_TRY(parallel_try(units.size(),
                       [&](size_t i) { return load_unit(file, tensors, units[i], arrays); }));
  if (arrays == tensors.size()) return {};
  return Error{ErrorKind::format, fmt::format("{} of {} arrays belong to no stage",
                                              tensors.size() - arrays, tensors.size())};
}

// Arrays are floats in memory, whatever they are in the file.
Result<> check_size(const gguf::GgufReader& file, const ReadLimits& limits) {
  uint64_t bytes = 0;
  for (const auto& tensor : file.tensors()) bytes += uint64_t{tensor.count()} * sizeof(float);
  return limits.check("a codec", 0, bytes);
}

// Calls body(name of its tensor, array) for all that was learnt, a stage's after the other's: all
// at once is more than whoever only looks should hold.
template <class Body>
void for_arrays(const Codec& codec, const Body& body) {
  const auto for_state = [&](State state, const std::string& start) {
    for (auto& [name, array] : state) body(start + name, std::move(array));
  };
  for_state(codec.embedding_basis().save(), kBasis);
  for (const UnitCoder& unit : codec.units()) {
    for (size_t s = 0; s < unit.stages().size(); ++s) {
      for_state(unit.stages()[s]->save(), prefix(unit.unit(), s));
    }
  }
}

Result<Codec> read(const gguf::GgufReader& file, const ReadLimits& limits) {
  KVS_ASSIGN(const std::string kind, file.text("kvsplice.kind"));
  if (kind != "codec") {
    return Error{ErrorKind::format, fmt::format("this is a {}, not a codec", kind)};
  }
  KVS_ASSIGN(const int64_t format, file.integer("kvsplice.codec.format"));
  if (format < 1 || format > kCodecFormat) {
    return Error{ErrorKind::unsupported,
                 fmt::format("codec format {}; this program reads 1 ... {}", format, kCodecFormat)};
  }
  KVS_ASSIGN(const std::string pipeline, file.text("kvsplice.codec.pipeline"));
  KVS_ASSIGN(const CodecText text, parse_codec(pipeline));
  KVS_ASSIGN(const auto stored, file.integers("kvsplice.codec.stage_versions"));
  KVS_TRY(check_versions(text, stored));
  KVS_ASSIGN(const ModelShape shape, gguf::read_shape(file));
  KVS_TRY(check_size(file, limits));
  KVS_ASSIGN(std::vector<UnitCoder> units, Codec::make_units(text, shape, stored));
  KVS_ASSIGN(const int64_t tokens, file.integer("kvsplice.codec.calibration_tokens"));
  Tensors tensors;
  for (const auto& tensor : file.tensors()) tensors.emplace(tensor.name, tensor);
  std::atomic<size_t> arrays{0};
  KVS_ASSIGN(EmbeddingBasis basis,
             load_basis(file, tensors, traits_of(text).directions, shape, arrays));
  KVS_TRY(load_units(file, tensors, units, arrays));
  return Codec(text, shape, std::move(units), static_cast<size_t>(std::max<int64_t>(0, tokens)),
               std::move(basis));
}

// What would be a caller's wrong word is damage in a file.
Result<Codec> named(const std::string& name, Result<Codec> loaded) {
  if (loaded.ok()) return loaded;
  const Error& error = loaded.error();
  const bool damaged = error.kind == ErrorKind::usage;
  return Error{damaged ? ErrorKind::format : error.kind, name + ": " + error.message};
}

Result<Codec> open_and_read(Result<gguf::GgufReader> file, const ReadLimits& limits) {
  if (!file.ok()) return file.error();
  return read(*file, limits);
}

Result<> write(const Codec& codec, OutputFile out) {
  auto file = gguf::GgufWriter::begin(std::move(out));
  file.set("kvsplice.kind", std::string("codec"));
  file.set("kvsplice.codec.format", int64_t{kCodecFormat});
  file.set("kvsplice.codec.pipeline", print(codec.text()));
  file.set("kvsplice.codec.stage_versions", versions(codec.text(), codec.units()));
  file.set("kvsplice.codec.calibration_tokens", int64_t(codec.calibration_tokens()));
  gguf::write_shape(file, codec.shape());
  std::vector<std::pair<std::string, StateArray>> arrays;
  for_arrays(codec, [&](const std::string& name, StateArray array) {
    file.declare({name, type_of(array.storage), array.dims});
    arrays.emplace_back(name, std::move(array));
  });
  KVS_TRY(file.begin_data());
  for (const auto& [name, array] : arrays) {
    KVS_TRY(file.write(name, 0, std::span<const float>(array.values)));
  }
  return file.finish();
}

}  // namespace

Result<> Codec::save(const std::string& path) const {
  return within_memory([&]() -> Result<> {
    KVS_ASSIGN(OutputFile out, OutputFile::reserve(path));
    return save(std::move(out));
  });
}

Result<> Codec::save(OutputFile out) const {
  return within_memory([&] { return write(*this, std::move(out)); });
}

Result<Codec> Codec::load(const std::string& path, const ReadLimits& limits) {
  return within_memory([&]() -> Result<Codec> {
    return named(path, open_and_read(gguf::GgufReader::open(path), limits));
  });
}

Result<Codec> Codec::load(std::shared_ptr<const ByteSource> source, const std::string& name,
                          const ReadLimits& limits) {
  return within_memory([&]() -> Result<Codec> {
    return named(name, open_and_read(gguf::GgufReader::open(std::move(source), name), limits));
  });
}

size_t Codec::state_bytes() const {
  size_t bytes = bytes_of(basis_.save());
  for (const UnitCoder& unit : units_) bytes += unit.state_bytes();
  return bytes;
}

std::string Codec::fingerprint() const {
  PiecewiseHash hash;
  const auto add = [&](const std::string& text) {
    ByteWriter piece;
    piece.put_string(text);
    hash.add(piece.bytes());
  };
  add(print(text_));
  add(shape_.fingerprint);
  for_arrays(*this, [&](const std::string& name, const StateArray& array) {
    add(name);
    hash.add({reinterpret_cast<const uint8_t*>(array.values.data()), 4 * array.values.size()});
  });
  return hash.hex();
}

}  // namespace kvsplice::codec
