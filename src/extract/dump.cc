#include "extract/dump.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/memory.h"
#include "extract/dump_file.h"

namespace kvsplice::extract {

size_t DumpInfo::tokens() const {
  size_t n = 0;
  for (const TextInfo& text : texts) n += text.tokens;
  return n;
}

std::span<const int> DumpInfo::heads_of(int layer) const {
  const auto end =
      std::lower_bound(heads.begin(), heads.end(), shape.layers[size_t(layer)].kv_heads);
  return {heads.begin(), end};
}

std::vector<int> DumpInfo::readers_of(int layer) const {
  const LayerShape& l = shape.layers[size_t(layer)];
  const int per_head = shape.query_heads_of(layer) / l.kv_heads;
  const int step = l.value_dim > 0 ? 1 : (per_head + kLatentReaders - 1) / kLatentReaders;
  std::vector<int> readers;
  for (const int head : heads_of(layer)) {
    for (int i = 0; i < per_head; i += step) readers.push_back(head * per_head + i);
  }
  return readers;
}

Scoring DumpInfo::scoring_of(int layer) const {
  if (scoring.empty()) return {};
  const Scoring& whole = scoring[size_t(layer)];
  Scoring picked{whole.soft_cap, {}};
  if (whole.sinks.empty()) return picked;
  for (const int reader : readers_of(layer)) picked.sinks.push_back(whole.sinks[size_t(reader)]);
  return picked;
}

Result<Dump> Dump::open(const std::string& path, const ReadLimits& limits) {
  return within_memory([&]() -> Result<Dump> {
    KVS_ASSIGN(gguf::GgufReader file, gguf::GgufReader::open(path));
    return read_from(std::move(file), limits);
  });
}

Result<Dump> Dump::read_from(gguf::GgufReader file, const ReadLimits& limits) {
  Dump dump(std::move(file), limits);
  KVS_ASSIGN(dump.info_, read_info(dump.file_));
  KVS_TRY(
      limits.check(dump.path(), dump.info_.tokens(), 2 * sizeof(int32_t) * dump.info_.tokens()));
  dump.tokens_.resize(dump.info_.tokens());
  dump.positions_.resize(dump.info_.tokens());
  KVS_TRY(dump.file_.read("tokens", 0, std::span<int32_t>(dump.tokens_)));
  KVS_TRY(dump.file_.read("positions", 0, std::span<int32_t>(dump.positions_)));
  if (dump.positions_ != positions_of(dump.info_)) {
    return Error{ErrorKind::format,
                 dump.path() + ": positions do not count from the start of every text"};
  }
  return dump;
}

bool Dump::has(host::Signal signal) const {
  return std::find(info_.signals.begin(), info_.signals.end(), signal) != info_.signals.end();
}

Result<Matrix<float>> Dump::read(host::Signal signal, int layer, size_t first, size_t n) const {
  if (!has(signal)) {
    return Error{ErrorKind::usage, fmt::format("{} holds no '{}'", path(), host::name(signal))};
  }
  if (std::find(info_.layers.begin(), info_.layers.end(), layer) == info_.layers.end()) {
    return Error{ErrorKind::usage, fmt::format("{} does not hold layer {}", path(), layer)};
  }
  if (first > info_.tokens() || n > info_.tokens() - first) {
    return Error{ErrorKind::usage,
                 fmt::format("{}: rows {} ... {} of {}", path(), first, first + n, info_.tokens())};
  }
  const size_t width =
      dumped_heads(info_, signal, layer).size() * size_t(dumped_dim(info_, signal, layer));
  KVS_TRY(limits_.check(path(), n, n * width * sizeof(float)));
  return within_memory([&]() -> Result<Matrix<float>> {
    Matrix<float> rows(n, width);
    if (width == 0) return rows;
    KVS_TRY(file_.read(tensor_name(signal, layer), first * rows.cols(), rows.flat()));
    return rows;
  });
}

Result<Matrix<float>> Dump::read(host::Signal signal, int layer) const {
  return read(signal, layer, 0, info_.tokens());
}

Result<Matrix<float>> Dump::read_queries(int layer, size_t first, size_t n) const {
  KVS_ASSIGN(const Matrix<float> all, read(host::Signal::query, layer, first, n));
  const auto kv_heads = size_t(info_.shape.layers[size_t(layer)].kv_heads);
  return pick_heads(all, info_.heads_of(layer), all.cols() / kv_heads);
}

}  // namespace kvsplice::extract
