#include "host/state_blob.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <span>

#include "core/errors.h"
#include "core/limits.h"
#include "host/recurrent_part.h"
#include "host/state_tokens.h"

namespace kvsplice::host {

namespace {

// The version whose number of this kind of file is there.
Result<StateVersion> read_version(ByteReader& in, const char* what,
                                  uint32_t StateVersion::*number) {
  KVS_ASSIGN(const uint32_t met, in.get<uint32_t>());
  std::vector<uint32_t> legal;
  for (const StateVersion& version : kStateVersions) {
    if (met == version.*number) return version;
    legal.push_back(version.*number);
  }
  return Error{ErrorKind::unsupported, fmt::format("llama.cpp {} of version {}; legal: {}", what,
                                                   met, fmt::join(legal, ", "))};
}

Result<std::vector<int32_t>> read_tokens(ByteReader& in) {
  KVS_ASSIGN(const uint32_t count, in.get<uint32_t>());
  KVS_ASSIGN(std::vector<int32_t> words, in.get_array<int32_t>(count));
  return unpack_token_field(std::move(words));
}

Result<StateBlob> read_head(ByteReader& in) {
  StateBlob blob;
  KVS_ASSIGN(const uint32_t magic, in.get<uint32_t>());
  if (magic == kDataMagic) {
    blob.form = StateForm::sequence_data;
    KVS_TRY(in.get<int32_t>());  // the sequence's number where it was saved
  } else if (magic == kSequenceMagic) {
    blob.form = StateForm::sequence_file;
    KVS_ASSIGN(blob.version, read_version(in, "sequence file", &StateVersion::sequence));
    KVS_ASSIGN(blob.tokens, read_tokens(in));
  } else if (magic == kSessionMagic) {
    KVS_ASSIGN(blob.version, read_version(in, "session file", &StateVersion::session));
    KVS_ASSIGN(blob.tokens, read_tokens(in));
    KVS_ASSIGN(const uint32_t length, in.get<uint32_t>());
    KVS_ASSIGN(const ByteSpan name, in.take(length));
    blob.architecture.assign(name.begin(), name.end());
  } else {
    return format_error(fmt::format("{:#010x} is not the start of a llama.cpp state", magic));
  }
  return blob;
}

Error several_sequences(const std::string& what) {
  return {ErrorKind::unsupported,
          fmt::format("{}: several sequences in one state; save each by itself", what)};
}

// What a cell says between the number of its sequences and their ids: nothing, or its place in an
// image, or that and its token.
enum class CellPlaces { none, without_tokens, with_tokens };

size_t cell_bytes(CellPlaces places) {  // position, number of ids, place, one id
  return 12 + (places == CellPlaces::none ? 0 : places == CellPlaces::with_tokens ? 12 : 8);
}

// Of text the place is the position, twice. The cells of an image are all at one position.
Result<> read_place(ByteReader& in, size_t cell, CellPlaces places, StateCache& cache) {
  if (places == CellPlaces::none) return {};
  KVS_ASSIGN(const int32_t x, in.get<int32_t>());
  KVS_ASSIGN(const int32_t y, in.get<int32_t>());
  int32_t token = 0;
  if (places == CellPlaces::with_tokens) {
    KVS_ASSIGN(token, in.get<int32_t>());
    cache.tokens.push_back(token);
  }
  const int32_t position = cache.positions[cell];
  if (x == position && y == position && token >= 0) return {};
  return Error{
      ErrorKind::unsupported,
      fmt::format("cell {} at position {} is of an image (x {}, y {}, token {}); states of "
                  "text are handled",
                  cell, position, x, y, token)};
}

Result<> read_cells(ByteReader& in, uint32_t count, CellPlaces places, StateCache& cache) {
  if (count > in.left() / cell_bytes(places)) {
    return format_error(fmt::format("{} cells cannot be in {} bytes", count, in.left()));
  }
  cache.positions.resize(count);
  std::optional<int32_t> first;
  for (size_t i = 0; i < count; ++i) {
    KVS_ASSIGN(cache.positions[i], in.get<int32_t>());
    KVS_ASSIGN(const uint32_t sequences, in.get<uint32_t>());
    if (sequences != 1) {
      return several_sequences(fmt::format("cell {} belongs to {} sequences", i, sequences));
    }
    KVS_TRY(read_place(in, i, places, cache));
    KVS_ASSIGN(const int32_t sequence, in.get<int32_t>());
    if (sequence != first.value_or(sequence)) {
      return several_sequences(fmt::format("cells of sequences {} and {}", *first, sequence));
    }
    first = sequence;
  }
  return {};
}

// Before 27 August 2026 llama.cpp left out the tokens. Such cells do not read as those of today.
bool lack_tokens(ByteReader in, uint32_t count) {
  StateCache cache;
  if (!read_cells(in, count, CellPlaces::without_tokens, cache).ok()) return false;
  const auto transposed = in.get<uint32_t>();
  const auto layers = in.get<uint32_t>();
  return layers.ok() && *transposed <= 1 && *layers <= limits::kLayers;
}

Result<> read_cells(ByteReader& in, uint32_t count, bool places, StateCache& cache) {
  if (!places) return read_cells(in, count, CellPlaces::none, cache);
  const ByteReader from = in;
  Result<> read = read_cells(in, count, CellPlaces::with_tokens, cache);
  if (read.ok() || !lack_tokens(from, count)) return read;
  return Error{ErrorKind::unsupported,
               "cells without tokens, as llama.cpp saved them before August 2026; a newer one "
               "must evaluate the text again"};
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

// What follows the number of cells of a stream that has some.
Result<StateCache> read_stream(ByteReader& in, uint32_t cells, StateVersion version,
                               const StateHints& hints) {
  StateCache cache;
  KVS_TRY(read_cells(in, cells, hints.places, cache));
  KVS_ASSIGN(const uint32_t transposed, in.get<uint32_t>());
  KVS_ASSIGN(const uint32_t layers, in.get<uint32_t>());
  if (transposed > 1 || layers > limits::kLayers) {
    return format_error(
        fmt::format("{} layers, transposed = {}: not a cache (are its cells of a "
                    "multi-dimensional rotary embedding?)",
                    layers, transposed));
  }
  if (version.says_turns()) {
    KVS_ASSIGN(cache.turns.keys, in.get<uint32_t>());
    KVS_ASSIGN(cache.turns.values, in.get<uint32_t>());
  }
  cache.values_transposed = transposed == 1;
  for (uint32_t l = 0; l < layers; ++l) {
    KVS_ASSIGN(StateRows rows, read_rows(in, cells, false));
    cache.keys.push_back(rows);
  }
  for (uint32_t l = 0; l < layers && hints.values; ++l) {
    KVS_ASSIGN(StateRows rows, read_rows(in, cells, cache.values_transposed));
    cache.values.push_back(rows);
  }
  return cache;
}

// One stream, or as many as the context can hold sequences: then the others are empty.
Result<StateCache> read_cache(ByteReader& in, StateBlob& blob, const StateHints& hints) {
  KVS_ASSIGN(blob.streams, in.get<uint32_t>());
  if (blob.streams < 1 || blob.streams > kMostStreams) {
    return format_error(
        fmt::format("a state of {} streams; legal: 1 ... {}", blob.streams, kMostStreams));
  }
  StateCache cache;
  uint32_t filled = 0;
  for (uint32_t s = 0; s < blob.streams; ++s) {
    KVS_ASSIGN(const uint32_t cells, in.get<uint32_t>());
    if (cells == 0) continue;
    if (cache.cells() > 0) {
      return several_sequences(fmt::format("streams {} and {} have cells", filled, s));
    }
    KVS_ASSIGN(cache, read_stream(in, cells, blob.version, hints));
    filled = s;
  }
  return cache;
}

size_t caches_of(const ModelShape& shape) { return shape.longest_window() > 0 ? 2 : 1; }

// Layers without attention have rows of no bytes.
Result<> drop_empty(std::span<const size_t> places, std::vector<StateRows>& layers) {
  for (auto place = places.rbegin(); place != places.rend(); ++place) {
    if (*place >= layers.size() || layers[*place].row_bytes > 0) {
      return Error{ErrorKind::mismatch,
                   fmt::format("layer {} of {} in the state has no rows in the model", *place,
                               layers.size())};
    }
    layers.erase(layers.begin() + static_cast<ptrdiff_t>(*place));
  }
  return {};
}

// Without a model, what follows the first cache is a second one if it can be read as one that is
// as full.
void read_second_cache(ByteReader& in, StateBlob& blob, const StateHints& hints) {
  ByteReader behind = in;
  StateBlob other;
  other.version = blob.version;
  auto cache = read_cache(behind, other, hints);
  if (!cache.ok() || (cache->cells() == 0) != (blob.caches[0].cells() == 0)) return;
  blob.caches.push_back(std::move(*cache));
  in = behind;
}

// Without a model, what is left is a recurrent part if all of it can be read as one.
void read_recurrent_end(ByteReader& in, StateBlob& blob) {
  if (in.left() == 0) return;
  ByteReader behind = in;
  auto recurrent = read_recurrent(behind, {});
  if (!recurrent.ok() || behind.left() > 0) return;
  blob.recurrent = std::move(*recurrent);
  in = behind;
}

void write_head(const StateBlob& blob, StateWriter& out) {
  switch (blob.form) {
    case StateForm::sequence_data:
      out.put(kDataMagic);
      out.put(int32_t{0});
      return;
    case StateForm::sequence_file:
      out.put(kSequenceMagic);
      out.put(blob.version.sequence);
      break;
    case StateForm::session_file:
      out.put(kSessionMagic);
      out.put(blob.version.session);
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

// The offset of their first byte.
size_t write_rows(const StateRows& rows, size_t cells, StateWriter& out) {
  const size_t at = out.size();
  if (rows.data.empty()) {
    out.leave_zeros(cells * rows.row_bytes);
  } else {
    out.put_array(rows.data);
  }
  return at;
}

RowsAt write_cells(const StateCache& cache, StateVersion version, StateWriter& out) {
  RowsAt at;
  if (cache.cells() == 0) return at;
  for (size_t i = 0; i < cache.cells(); ++i) {
    out.put(cache.positions[i]);
    out.put(uint32_t{1});
    if (!cache.tokens.empty()) {
      out.put(cache.positions[i]);
      out.put(cache.positions[i]);
      out.put(cache.tokens[i]);
    }
    out.put(int32_t{0});
  }
  out.put(uint32_t{cache.values_transposed});
  out.put(static_cast<uint32_t>(cache.keys.size()));
  if (version.says_turns()) {
    out.put(cache.turns.keys);
    out.put(cache.turns.values);
  }
  for (const StateRows& rows : cache.keys) {
    out.put(rows.type);
    out.put(uint64_t{rows.row_bytes});
    at.keys.push_back(write_rows(rows, cache.cells(), out));
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
    at.values.push_back(write_rows(rows, cache.cells(), out));
  }
  return at;
}

// The cells are in the first stream. llama.cpp puts them where the sequence belongs.
RowsAt write_cache(const StateCache& cache, const StateBlob& blob, StateWriter& out) {
  out.put(blob.streams);
  out.put(static_cast<uint32_t>(cache.cells()));
  RowsAt at = write_cells(cache, blob.version, out);
  for (uint32_t s = 1; s < blob.streams; ++s) out.put(uint32_t{0});
  return at;
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

std::vector<size_t> empty_places(const ModelShape& shape) {
  std::vector<size_t> places;
  for (const int empty : shape.empty_layers) {
    const auto before = std::count_if(shape.layers.begin(), shape.layers.end(),
                                      [&](const LayerShape& l) { return l.layer < empty; });
    places.push_back(static_cast<size_t>(before) + places.size());
  }
  return places;
}

StateHints hints_of(const ModelShape& shape) {
  return {.caches = caches_of(shape),
          .empty = empty_places(shape),
          .places = shape.places,
          .values = !shape.lacks_values(),
          .recurrent = shape.recurrent};
}

namespace {

Result<StateBlob> parse_as(ByteSpan bytes, const StateHints& hints) {
  ByteReader in(bytes);
  KVS_ASSIGN(StateBlob blob, read_head(in));
  if (blob.form == StateForm::sequence_data) blob.version = hints.version;
  const size_t caches = std::max<size_t>(hints.caches, 1);
  while (in.left() > 0 && blob.caches.size() < caches) {
    KVS_ASSIGN(StateCache cache, read_cache(in, blob, hints));
    blob.caches.push_back(std::move(cache));
  }
  if (blob.caches.empty()) return format_error("truncated: the state has no cache");
  if (hints.caches == 0) read_second_cache(in, blob, hints);
  if (hints.caches == 0) read_recurrent_end(in, blob);
  if (!hints.recurrent.empty()) {
    KVS_ASSIGN(blob.recurrent, read_recurrent(in, hints.recurrent));
  }
  if (blob.caches[0].cells() > 0) {
    KVS_TRY(drop_empty(hints.empty, blob.caches[0].keys));
    if (hints.values) KVS_TRY(drop_empty(hints.empty, blob.caches[0].values));
  }
  blob.bytes_behind = in.left();
  return blob;
}

}  // namespace

Result<StateBlob> parse_state(ByteSpan bytes, const StateHints& hints) {
  Result<StateBlob> blob = parse_as(bytes, hints);
  if (blob.ok() || hints.caches > 0) return blob;
  // Of other models than the usual ones.
  constexpr std::pair<bool, bool> kOthers[] = {{false, false}, {true, true}, {true, false}};
  for (const auto& [places, values] : kOthers) {
    StateHints other = hints;
    other.places = places;
    other.values = values;
    Result<StateBlob> read = parse_as(bytes, other);
    if (read.ok() && read->bytes_behind == 0) return read;
  }
  return blob;
}

size_t most_state_bytes(const StateBlob& blob) {
  constexpr size_t kCell = 24, kNumbers = 32;
  size_t bytes = kNumbers + 4 * blob.tokens.size() + blob.architecture.size();
  for (const StateCache& cache : blob.caches) {
    bytes += kNumbers + 4 * blob.streams + kCell * cache.cells();
    for (const auto* layers : {&cache.keys, &cache.values}) {
      for (const StateRows& rows : *layers) bytes += kNumbers + cache.cells() * rows.row_bytes;
    }
  }
  if (blob.recurrent) bytes += most_recurrent_bytes(*blob.recurrent);
  return bytes;
}

size_t write_state(const StateBlob& blob, std::span<uint8_t> zeros, std::vector<RowsAt>* places) {
  StateWriter out(zeros);
  write_head(blob, out);
  for (const StateCache& cache : blob.caches) {
    RowsAt at = write_cache(cache, blob, out);
    if (places != nullptr) places->push_back(std::move(at));
  }
  const bool names_sequence = blob.form == StateForm::session_file;
  if (blob.recurrent) write_recurrent(*blob.recurrent, names_sequence, out);
  return out.size();
}

Bytes write_state(const StateBlob& blob) {
  Bytes bytes(most_state_bytes(blob));
  bytes.resize(write_state(blob, bytes, nullptr));
  return bytes;
}

Result<session::RecurrentState> recurrent_of_part(ByteSpan bytes, const ModelShape& shape) {
  if (!shape.hybrid()) return Error{ErrorKind::usage, "the model has no recurrent layers"};
  ByteReader in(bytes);
  KVS_ASSIGN(StateBlob blob, read_head(in));
  blob.version = linked_state_version();
  if (shape.longest_window() > 0) KVS_TRY(read_cache(in, blob, hints_of(shape)));
  KVS_ASSIGN(auto state, read_recurrent(in, shape.recurrent));
  if (!state) return Error{ErrorKind::unsupported, "no token has been evaluated yet"};
  KVS_TRY(session::check_state(*state, shape));
  return std::move(*state);
}

// A sliding cache without cells leaves those that are there.
Bytes part_of_recurrent(const session::RecurrentState& state, const ModelShape& shape) {
  constexpr size_t kNumbers = 16;
  Bytes bytes(kNumbers + most_recurrent_bytes(state));
  StateWriter out(bytes);
  out.put(kDataMagic);
  out.put(int32_t{0});
  if (shape.longest_window() > 0) {
    out.put(uint32_t{1});  // stream
    out.put(uint32_t{0});  // cells
  }
  write_recurrent(state, false, out);
  bytes.resize(out.size());
  return bytes;
}

Result<std::vector<int>> layers_of_cache(const StateBlob& blob, size_t index,
                                         const ModelShape& shape) {
  if (!blob.architecture.empty() && blob.architecture != shape.architecture) {
    return Error{ErrorKind::mismatch,
                 fmt::format("the state is of architecture '{}', the model '{}'", blob.architecture,
                             shape.architecture)};
  }
  const size_t wanted = caches_of(shape);
  if (blob.caches.size() != wanted) {
    return Error{ErrorKind::mismatch,
                 fmt::format("the state has {} caches, the model {}", blob.caches.size(), wanted)};
  }
  std::vector<int> layers;
  for (size_t l = 0; l < shape.layers.size(); ++l) {
    if ((shape.layers[l].window > 0) == (index == 1)) layers.push_back(static_cast<int>(l));
  }
  const StateCache& cache = blob.caches[index];
  if (cache.cells() == 0) return layers;
  if (cache.keys.size() != layers.size()) {
    return Error{ErrorKind::mismatch,
                 fmt::format("cache {} of the state has {} layers, the model {}", index,
                             cache.keys.size(), layers.size())};
  }
  const size_t with_values = shape.lacks_values() ? 0 : layers.size();
  if (cache.values.size() != with_values) {
    return Error{ErrorKind::mismatch, fmt::format("cache {} of the state has values of {} layers, "
                                                  "the model of {}",
                                                  index, cache.values.size(), with_values)};
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    const LayerShape& layer = shape.layers[layers[i]];
    KVS_TRY(check_rows(cache.keys[i], layer, Kind::key));
    if (layer.value_dim > 0) KVS_TRY(check_rows(cache.values[i], layer, Kind::value));
  }
  return layers;
}

}  // namespace kvsplice::host
