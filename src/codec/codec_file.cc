// codec.gguf: the text, the shape and fingerprint of the model, and one tensor per fitted array,
// named <k|v>.<layer|all>.<stage index>.<array>. docs/codecs.md lists the metadata.
#include <fmt/format.h>

#include <cmath>

#include "codec/codec.h"
#include "core/threads.h"
#include "host/gguf_file.h"

namespace kvsplice::codec {

namespace {

constexpr int64_t kFormat = 1;  // readers accept formats 1 ... kFormat

std::string prefix(const Unit& unit, size_t stage) {
  const char kind = unit.kind == Kind::key ? 'k' : 'v';
  return unit.layer < 0 ? fmt::format("{}.all.{}.", kind, stage)
                        : fmt::format("{}.{}.{}.", kind, unit.layer, stage);
}

std::vector<int32_t> versions(const CodecText& text) {
  std::vector<int32_t> list;
  for (Kind kind : {Kind::key, Kind::value}) {
    for (const auto& stage : text.of(kind)) list.push_back(find_stage(stage.name)->version);
  }
  return list;
}

Result<> check_versions(const CodecText& text, const std::vector<int32_t>& stored) {
  const std::vector<int32_t> known = versions(text);
  if (stored.size() != known.size()) {
    return Error{ErrorKind::format, "the list of stage versions does not fit the pipeline"};
  }
  for (size_t i = 0; i < known.size(); ++i) {
    if (stored[i] < 1 || stored[i] > known[i]) {
      return Error{ErrorKind::unsupported,
                   fmt::format("stage {} of the codec has version {}; this program reads 1 ... {}",
                               i, stored[i], known[i])};
    }
  }
  return {};
}

host::TensorType type_of(Storage storage) {
  switch (storage) {
    case Storage::f32:
      return host::TensorType::f32;
    case Storage::f16:
      return host::TensorType::f16;
    case Storage::i8:
      return host::TensorType::i8;
  }
  return host::TensorType::f32;
}

Storage storage_of(host::TensorType type) {
  if (type == host::TensorType::f16) return Storage::f16;
  return type == host::TensorType::i8 ? Storage::i8 : Storage::f32;
}

// The arrays whose names start with `start`.
Result<State> read_state(const host::GgufReader& file, const std::string& start) {
  State state;
  for (const auto& tensor : file.tensors()) {
    if (tensor.name.rfind(start, 0) != 0) continue;
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

Result<> load_unit(const host::GgufReader& file, Codec::UnitPipeline& unit) {
  size_t width = unit.unit.width();
  for (size_t s = 0; s < unit.stages.size(); ++s) {
    KVS_ASSIGN(const State state, read_state(file, prefix(unit.unit, s)));
    KVS_TRY(unit.stages[s]->load(state, width));
    width = unit.stages[s]->output_width(width);
  }
  return {};
}

}  // namespace

Result<> Codec::save(const std::string& path) const {
  KVS_ASSIGN(OutputFile out, OutputFile::reserve(path));
  return save(std::move(out));
}

Result<> Codec::save(OutputFile out) const {
  auto file = host::GgufWriter::begin(std::move(out));
  file.set("kvsplice.kind", std::string("codec"));
  file.set("kvsplice.codec.format", kFormat);
  file.set("kvsplice.codec.pipeline", print(text_));
  file.set("kvsplice.codec.stage_versions", versions(text_));
  file.set("kvsplice.codec.calibration_tokens", int64_t(calibration_tokens_));
  host::write_shape(file, shape_);
  std::vector<std::pair<std::string, StateArray>> arrays;
  for (const auto& unit : units_) {
    for (size_t s = 0; s < unit.stages.size(); ++s) {
      for (auto& [name, array] : unit.stages[s]->save()) {
        const auto type = type_of(array.storage);
        arrays.emplace_back(prefix(unit.unit, s) + name, std::move(array));
        file.declare({arrays.back().first, type, arrays.back().second.dims});
      }
    }
  }
  KVS_TRY(file.begin_data());
  for (const auto& [name, array] : arrays) {
    KVS_TRY(file.write(name, 0, std::span<const float>(array.values)));
  }
  return file.finish();
}

Result<Codec> Codec::load(const std::string& path) {
  auto loaded = [&]() -> Result<Codec> {
    KVS_ASSIGN(const auto file, host::GgufReader::open(path));
    KVS_ASSIGN(const std::string kind, file.text("kvsplice.kind"));
    if (kind != "codec") {
      return Error{ErrorKind::format, fmt::format("this is a {}, not a codec", kind)};
    }
    KVS_ASSIGN(const int64_t format, file.integer("kvsplice.codec.format"));
    if (format < 1 || format > kFormat) {
      return Error{ErrorKind::unsupported,
                   fmt::format("codec format {}; this program reads 1 ... {}", format, kFormat)};
    }
    KVS_ASSIGN(const std::string pipeline, file.text("kvsplice.codec.pipeline"));
    KVS_ASSIGN(const CodecText text, parse_codec(pipeline));
    KVS_ASSIGN(const auto stored, file.integers("kvsplice.codec.stage_versions"));
    KVS_TRY(check_versions(text, stored));
    KVS_ASSIGN(const ModelShape shape, host::read_shape(file));
    KVS_ASSIGN(Codec codec, create(text, shape));
    KVS_ASSIGN(const int64_t tokens, file.integer("kvsplice.codec.calibration_tokens"));
    codec.calibration_tokens_ = static_cast<size_t>(std::max<int64_t>(0, tokens));
    KVS_TRY(parallel_try(codec.units_.size(),
                         [&](size_t i) { return load_unit(file, codec.units_[i]); }));
    return codec;
  }();
  if (!loaded.ok()) return Error{loaded.error().kind, path + ": " + loaded.error().message};
  return loaded;
}

std::string Codec::fingerprint() const {
  ByteWriter all;
  all.put_string(print(text_));
  all.put_string(shape_.fingerprint);
  for (const auto& unit : units_) {
    for (size_t s = 0; s < unit.stages.size(); ++s) {
      for (const auto& [name, array] : unit.stages[s]->save()) {
        all.put_string(prefix(unit.unit, s) + name);
        all.put_array(std::span<const float>(array.values));
      }
    }
  }
  return hash128_hex(all.bytes());
}

}  // namespace kvsplice::codec
