#include "session/state_blob.h"

#include <fmt/format.h>

#include <algorithm>

namespace kvsplice::session {

namespace {

constexpr uint32_t kSessionMagic = 0x6767736e, kSessionVersion = 10;   // 'ggsn'
constexpr uint32_t kSequenceMagic = 0x67677371, kSequenceVersion = 3;  // 'ggsq'
constexpr uint32_t kDataMagic = 0xaf143cd8;
constexpr uint32_t kMostLayers = 4096;  // far above any model; bounds what a bad count can cost

Error format_error(std::string message) { return {ErrorKind::format, std::move(message)}; }

Result<> check_version(ByteReader& in, const char* what, uint32_t known) {
  KVS_ASSIGN(const uint32_t version, in.get<uint32_t>());
  if (version == known) return {};
  return Error{ErrorKind::unsupported,
               fmt::format("llama.cpp {} of version {}; version {} is read", what, version, known)};
}

Result<std::vector<int32_t>> read_tokens(ByteReader& in) {
  KVS_ASSIGN(const uint32_t count, in.get<uint32_t>());
  return in.get_array<int32_t>(count);
}

Result<StateBlob> read_head(ByteReader& in) {
  StateBlob blob;
  KVS_ASSIGN(const uint32_t magic, in.get<uint32_t>());
  if (magic == kDataMagic) {
    blob.form = StateForm::sequence_data;
    KVS_TRY(in.get<int32_t>());  // the sequence's number where it was saved
  } else if (magic == kSequenceMagic) {
    blob.form = StateForm::sequence_file;
    KVS_TRY(check_version(in, "sequence file", kSequenceVersion));
    KVS_ASSIGN(blob.tokens, read_tokens(in));
  } else if (magic == kSessionMagic) {
    KVS_TRY(check_version(in, "session file", kSessionVersion));
    KVS_ASSIGN(blob.tokens, read_tokens(in));
    KVS_ASSIGN(const uint32_t length, in.get<uint32_t>());
    KVS_ASSIGN(const ByteSpan name, in.take(length));
    blob.architecture.assign(name.begin(), name.end());
  } else {
    return format_error(fmt::format("{:#010x} is not the start of a llama.cpp state", magic));
  }
  return blob;
}

Result<std::vector<int32_t>> read_cells(ByteReader& in, uint32_t count) {
  if (count > in.left() / 12) {  // position, number of ids, one id
    return format_error(fmt::format("{} cells cannot be in {} bytes", count, in.left()));
  }
  std::vector<int32_t> positions(count);
  for (int32_t& position : positions) {
    KVS_ASSIGN(position, in.get<int32_t>());
    KVS_ASSIGN(const uint32_t sequences, in.get<uint32_t>());
    if (sequences != 1) {
      return Error{
          ErrorKind::unsupported,
          fmt::format("a cell belongs to {} sequences; states of one are handled", sequences)};
    }
    KVS_TRY(in.get<int32_t>());
  }
  return positions;
}

Result<StateRows> read_rows(ByteReader& in, size_t cells, bool transposed) {
  StateRows rows;
  KVS_ASSIGN(rows.type, in.get<int32_t>());
  if (transposed) {
    KVS_ASSIGN(const uint32_t element, in.get<uint32_t>());
    KVS_ASSIGN(const uint32_t width, in.get<uint32_t>());
    rows.row_bytes = size_t{element} * width;
  } else {
    KVS_ASSIGN(const uint64_t bytes, in.get<uint64_t>());
    rows.row_bytes = bytes;
  }
  if (rows.row_bytes > in.left() / std::max<size_t>(cells, 1)) {
    return format_error(
        fmt::format("truncated: {} rows of {} bytes, {} left", cells, rows.row_bytes, in.left()));
  }
  KVS_ASSIGN(rows.data, in.take(cells * rows.row_bytes));
  return rows;
}

Result<StateCache> read_cache(ByteReader& in) {
  StateCache cache;
  KVS_ASSIGN(const uint32_t streams, in.get<uint32_t>());
  if (streams != 1) {
    return Error{ErrorKind::unsupported,
                 fmt::format("a state of {} streams; states of one are handled", streams)};
  }
  KVS_ASSIGN(const uint32_t cells, in.get<uint32_t>());
  if (cells == 0) return cache;
  KVS_ASSIGN(cache.positions, read_cells(in, cells));
  KVS_ASSIGN(const uint32_t transposed, in.get<uint32_t>());
  KVS_ASSIGN(const uint32_t layers, in.get<uint32_t>());
  if (transposed > 1 || layers > kMostLayers) {
    return format_error(
        fmt::format("{} layers, transposed = {}: not a cache (are its cells of a "
                    "multi-dimensional rotary embedding?)",
                    layers, transposed));
  }
  cache.values_transposed = transposed == 1;
  for (uint32_t l = 0; l < layers; ++l) {
    KVS_ASSIGN(StateRows rows, read_rows(in, cells, false));
    cache.keys.push_back(rows);
  }
  for (uint32_t l = 0; l < layers; ++l) {
    KVS_ASSIGN(StateRows rows, read_rows(in, cells, cache.values_transposed));
    cache.values.push_back(rows);
  }
  return cache;
}

void write_head(const StateBlob& blob, ByteWriter& out) {
  switch (blob.form) {
    case StateForm::sequence_data:
      out.put(kDataMagic);
      out.put(int32_t{0});
      return;
    case StateForm::sequence_file:
      out.put(kSequenceMagic);
      out.put(kSequenceVersion);
      break;
    case StateForm::session_file:
      out.put(kSessionMagic);
      out.put(kSessionVersion);
      break;
  }
  out.put(static_cast<uint32_t>(blob.tokens.size()));
  out.put_array(std::span<const int32_t>(blob.tokens));
  if (blob.form != StateForm::session_file) return;
  out.put(static_cast<uint32_t>(blob.architecture.size()));
  out.put_array(std::span<const char>(blob.architecture));
}

// Elements of a transposed row are as wide as their type: only plain types can be transposed.
uint32_t element_bytes(int32_t type) { return type == int32_t(CellType::f32) ? 4 : 2; }

void write_cache(const StateCache& cache, ByteWriter& out) {
  out.put(uint32_t{1});
  out.put(static_cast<uint32_t>(cache.cells()));
  if (cache.cells() == 0) return;
  for (int32_t position : cache.positions) {
    out.put(position);
    out.put(uint32_t{1});
    out.put(int32_t{0});
  }
  out.put(uint32_t{cache.values_transposed});
  out.put(static_cast<uint32_t>(cache.keys.size()));
  for (const StateRows& rows : cache.keys) {
    out.put(rows.type);
    out.put(uint64_t{rows.row_bytes});
    out.put_bytes(rows.data);
  }
  for (const StateRows& rows : cache.values) {
    out.put(rows.type);
    if (cache.values_transposed) {
      const uint32_t element = element_bytes(rows.type);
      out.put(element);
      out.put(static_cast<uint32_t>(rows.row_bytes / element));
    } else {
      out.put(uint64_t{rows.row_bytes});
    }
    out.put_bytes(rows.data);
  }
}

Result<> check_rows(const StateRows& rows, const LayerShape& layer, Kind kind) {
  KVS_ASSIGN(const size_t wanted, row_bytes(rows.type, layer.width(kind)));
  if (rows.row_bytes == wanted) return {};
  return Error{ErrorKind::mismatch,
               fmt::format("{} rows of layer {} have {} bytes in the state; the model's {} values "
                           "as {} take {}",
                           name(kind), layer.layer, rows.row_bytes, layer.width(kind),
                           name(CellType(rows.type)), wanted)};
}

}  // namespace

const char* name(StateForm form) {
  switch (form) {
    case StateForm::session_file:
      return "session file";
    case StateForm::sequence_file:
      return "sequence file";
    case StateForm::sequence_data:
      return "sequence data";
  }
  return "";
}

const char* name(CellType type) {
  switch (type) {
    case CellType::f32:
      return "f32";
    case CellType::f16:
      return "f16";
    case CellType::q8_0:
      return "q8_0";
  }
  return "another type";
}

Result<size_t> row_bytes(int32_t type, size_t width) {
  if (type == int32_t(CellType::f32)) return 4 * width;
  if (type == int32_t(CellType::f16)) return 2 * width;
  if (type == int32_t(CellType::q8_0) && width % 32 == 0) return width / 32 * 34;
  return Error{ErrorKind::unsupported,
               fmt::format("rows of {} values of ggml type {}; f32 (0), f16 (1) and q8_0 (8, in "
                           "multiples of 32) are handled",
                           width, type)};
}

Result<StateBlob> parse_state(ByteSpan bytes) {
  ByteReader in(bytes);
  KVS_ASSIGN(StateBlob blob, read_head(in));
  while (in.left() > 0 && blob.caches.size() < 2) {
    KVS_ASSIGN(StateCache cache, read_cache(in));
    blob.caches.push_back(std::move(cache));
  }
  if (blob.caches.empty()) return format_error("truncated: the state has no cache");
  if (in.left() > 0) {
    return format_error(fmt::format("{} bytes behind the last cache of the state", in.left()));
  }
  return blob;
}

Bytes write_state(const StateBlob& blob) {
  ByteWriter out;
  write_head(blob, out);
  for (const StateCache& cache : blob.caches) write_cache(cache, out);
  return out.take();
}

Result<std::vector<int>> layers_of_cache(const StateBlob& blob, size_t index,
                                         const ModelShape& shape) {
  if (!blob.architecture.empty() && blob.architecture != shape.architecture) {
    return Error{ErrorKind::mismatch,
                 fmt::format("the state is of architecture '{}', the model '{}'", blob.architecture,
                             shape.architecture)};
  }
  const bool windows = std::any_of(shape.layers.begin(), shape.layers.end(),
                                   [](const LayerShape& l) { return l.window > 0; });
  const size_t wanted = windows ? 2 : 1;
  if (blob.caches.size() != wanted) {
    return Error{ErrorKind::mismatch,
                 fmt::format("the state has {} caches, the model {}", blob.caches.size(), wanted)};
  }
  std::vector<int> layers;
  for (size_t l = 0; l < shape.layers.size(); ++l) {
    const bool second = windows && shape.layers[l].window > 0;
    if (second == (index == 1)) layers.push_back(static_cast<int>(l));
  }
  const StateCache& cache = blob.caches[index];
  if (cache.cells() == 0) return layers;
  if (cache.keys.size() != layers.size()) {
    return Error{ErrorKind::mismatch,
                 fmt::format("cache {} of the state has {} layers, the model {}", index,
                             cache.keys.size(), layers.size())};
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    const LayerShape& layer = shape.layers[layers[i]];
    KVS_TRY(check_rows(cache.keys[i], layer, Kind::key));
    KVS_TRY(check_rows(cache.values[i], layer, Kind::value));
  }
  return layers;
}

}  // namespace kvsplice::session
