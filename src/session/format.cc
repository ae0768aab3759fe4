#include "session/format.h"

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <limits>

#include "core/errors.h"
#include "core/limits.h"

namespace kvsplice::session {

namespace {

// A byte beyond ASCII and both line ends, so that damage by text transfer is seen at once.
constexpr std::array<uint8_t, 8> kMagic = {0x89, 'K', 'V', 'Z', '\r', '\n', 0x1a, '\n'};
constexpr std::array<uint8_t, 8> kEndMagic = {'K', 'V', 'Z', 'e', 'n', 'd', '\r', '\n'};
constexpr size_t kChecksum = 8;

uint64_t checksum(ByteSpan bytes) { return XXH64(bytes.data(), bytes.size(), 0); }

uint64_t load64(ByteSpan bytes) {
  uint64_t value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

Result<size_t> get_number(ByteReader& in, const char* what, uint64_t low, uint64_t high) {
  KVS_ASSIGN(const uint64_t value, in.get_varint());
  if (value >= low && value <= high) return static_cast<size_t>(value);
  return format_error(fmt::format("{} = {}; legal: {} ... {}", what, value, low, high));
}

Result<LayerShape> get_layer(ByteReader& in) {
  LayerShape layer;
  const auto get = [&](const char* what, uint64_t low, uint64_t high, int& to) -> Result<> {
    KVS_ASSIGN(const size_t value, get_number(in, what, low, high));
    to = static_cast<int>(value);
    return {};
  };
  KVS_TRY(get("layer", 0, limits::kLayers, layer.layer));
  KVS_TRY(get("heads of a layer", 1, limits::kHeads, layer.kv_heads));
  KVS_TRY(get("key dimension", 1, limits::kHeadDim, layer.key_dim));
  KVS_TRY(get("value dimension", 0, limits::kHeadDim, layer.value_dim));
  KVS_TRY(get("window", 0, limits::kWindow, layer.window));
  return layer;
}

uint16_t oldest_format(ByteSpan header) {
  uint16_t oldest;
  std::memcpy(&oldest, &header[kMagic.size() + sizeof oldest], sizeof oldest);
  return oldest;
}

// The checksum of a record covers its head up to the checksum, then its payload.
uint64_t record_checksum(ByteSpan head, ByteSpan payload) {
  XXH64_state_t state;
  XXH64_reset(&state, 0);
  XXH64_update(&state, head.data(), head.size());
  XXH64_update(&state, payload.data(), payload.size());
  return XXH64_digest(&state);
}

Bytes record_head(const Record& record) {
  ByteWriter out;
  out.put(static_cast<uint32_t>(record.kind));
  out.put(static_cast<uint32_t>(record.first));
  out.put(static_cast<uint32_t>(record.count));
  out.put(uint32_t{0});
  out.put(record.length);
  return out.take();
}

Error beyond_the_index(const Record& record, uint64_t end) {
  return format_error(
      fmt::format("a record of {} bytes at {} ends behind {}, where the index begins",
                  record.length, record.offset, end));
}

// The next record of an index, which begins at `begin` or behind it.
Result<Record> get_record(ByteReader& in, const SessionInfo& info, uint64_t begin, uint64_t end) {
  Record record;
  KVS_ASSIGN(const size_t kind, get_number(in, "record kind", 1, 2));
  record.kind = static_cast<RecordKind>(kind);
  KVS_ASSIGN(record.count, get_number(in, "tokens of a record", 1, info.block_tokens));
  KVS_ASSIGN(record.offset, get_number(in, "record offset", begin, end));
  KVS_ASSIGN(record.length, get_number(in, "record length", record.count, end));
  if (record.end() > end) return beyond_the_index(record, end);
  return record;
}

// The next state of an index, which begins at `begin` or behind it, of at most `tokens` tokens.
Result<StoredState> get_state(ByteReader& in, size_t tokens, uint64_t begin, uint64_t end) {
  constexpr uint64_t kMostBytes = uint64_t{1} << 40;
  StoredState state;
  Record& record = state.record;
  record.kind = RecordKind::state;
  KVS_ASSIGN(record.first, get_number(in, "tokens before a state", 1, tokens));
  KVS_ASSIGN(record.offset, get_number(in, "offset of a state", begin, end));
  KVS_ASSIGN(record.length, get_number(in, "length of a state", 1, end));
  KVS_ASSIGN(state.bytes, get_number(in, "bytes of a state", 0, kMostBytes));
  if (record.end() > end) return beyond_the_index(record, end);
  return state;
}

Result<std::vector<StoredState>> get_states(ByteReader& in, size_t tokens, uint64_t begin,
                                            uint64_t end) {
  constexpr size_t kLeastEntry = 4;
  std::vector<StoredState> states;
  KVS_ASSIGN(const size_t count, get_number(in, "states", 1, in.left() / kLeastEntry));
  for (size_t i = 0; i < count; ++i) {
    KVS_ASSIGN(const StoredState state, get_state(in, tokens, begin, end));
    if (i > 0 && state.record.first <= states.back().record.first) {
      return format_error(fmt::format("a state behind token {} follows one behind token {}",
                                      state.record.first, states.back().record.first));
    }
    begin = state.record.end();
    states.push_back(state);
  }
  return states;
}

}  // namespace

const char* name(RecordKind kind) {
  switch (kind) {
    case RecordKind::coded:
      return "coded";
    case RecordKind::exact:
      return "exact";
    case RecordKind::index:
      return "index";
    case RecordKind::state:
      return "state";
  }
  return "";
}

ModelShape shape_of(const SessionInfo& info) {
  ModelShape shape;
  shape.fingerprint = info.model;
  shape.model_name = info.model_name;
  shape.architecture = info.architecture;
  shape.layers = info.layers;
  return shape;
}

uint64_t Record::end() const { return offset + kRecordHead + length; }

Bytes write_header(const SessionInfo& info) {
  ByteWriter body;
  body.put_string(info.codec);
  body.put_string(info.pipeline);
  body.put_string(info.model);
  body.put_string(info.model_name);
  body.put_string(info.architecture);
  body.put_varint(info.block_tokens);
  body.put_varint(info.sinks);
  body.put_varint(info.window);
  body.put_varint(info.layers.size());
  for (const LayerShape& l : info.layers) {
    for (int v : {l.layer, l.kv_heads, l.key_dim, l.value_dim, l.window}) {
      body.put_varint(static_cast<uint64_t>(v));
    }
  }
  ByteWriter out;
  out.put_bytes(kMagic);
  out.put(info.format);
  out.put(info.format);  // the oldest version whose readers can read this
  out.put(static_cast<uint32_t>(kHeaderStart + body.size() + kChecksum));
  out.put_bytes(body.bytes());
  out.put(checksum(out.bytes()));
  return out.take();
}

Result<size_t> header_length(ByteSpan start) {
  ByteReader in(start);
  KVS_ASSIGN(const ByteSpan magic, in.take(kMagic.size()));
  if (!std::equal(magic.begin(), magic.end(), kMagic.begin())) {
    return format_error("not a session.kvz: its first bytes are others");
  }
  KVS_ASSIGN(const uint16_t version, in.get<uint16_t>());
  KVS_ASSIGN(const uint16_t oldest, in.get<uint16_t>());
  if (oldest > kNewestFormat) {
    return Error{ErrorKind::unsupported,
                 fmt::format("session format {} needs a reader of version {}; this one is {}",
                             version, oldest, kNewestFormat)};
  }
  KVS_ASSIGN(const uint32_t length, in.get<uint32_t>());
  if (length < kHeaderStart + kChecksum || length > limits::kSessionHeader) {
    return format_error(
        fmt::format("header of {} bytes; at most {}", length, limits::kSessionHeader));
  }
  return size_t{length};
}

Result<SessionInfo> parse_header(ByteSpan header) {
  KVS_ASSIGN(const size_t length, header_length(header));
  if (header.size() != length) {
    return format_error(
        fmt::format("truncated: header of {} bytes, {} there", length, header.size()));
  }
  if (checksum(header.first(length - kChecksum)) != load64(header.last(kChecksum))) {
    return format_error("the header is damaged: its checksum differs");
  }
  ByteReader in(header.first(length - kChecksum));
  KVS_TRY(in.take(kHeaderStart));
  SessionInfo info;
  info.format = std::max(oldest_format(header), kOldestFormat);
  for (std::string* text :
       {&info.codec, &info.pipeline, &info.model, &info.model_name, &info.architecture}) {
    KVS_ASSIGN(*text, in.get_string(limits::kString));
  }
  KVS_ASSIGN(info.block_tokens, get_number(in, "tokens of a block", 1, limits::kBlockTokens));
  KVS_ASSIGN(info.sinks, get_number(in, "sinks", 0, limits::kTokens));
  KVS_ASSIGN(info.window, get_number(in, "window", 0, limits::kTokens));
  KVS_ASSIGN(const size_t layers, get_number(in, "layers", 1, limits::kLayers));
  for (size_t l = 0; l < layers; ++l) {
    KVS_ASSIGN(LayerShape layer, get_layer(in));
    info.layers.push_back(layer);
  }
  KVS_TRY(check_widths(info.layers));
  return info;  // newer writers may add fields here
}

Bytes write_record(const Record& record, ByteSpan payload) {
  const Bytes head = record_head(record);
  ByteWriter out;
  out.put_bytes(head);
  out.put(record_checksum(head, payload));
  out.put_bytes(payload);
  return out.take();
}

Result<ByteSpan> parse_record(ByteSpan bytes, const Record& expected) {
  if (bytes.size() != kRecordHead + expected.length) {
    return format_error(fmt::format("truncated: a record of {} bytes, {} there",
                                    kRecordHead + expected.length, bytes.size()));
  }
  const ByteSpan head = bytes.first(kRecordHead - kChecksum), payload = bytes.subspan(kRecordHead);
  const Bytes wanted = record_head(expected);
  if (!std::equal(head.begin(), head.end(), wanted.begin()) ||
      record_checksum(head, payload) != load64(bytes.subspan(kRecordHead - kChecksum))) {
    return format_error(fmt::format("the {} record of tokens {} ... {} at byte {} is damaged",
                                    name(expected.kind), expected.first,
                                    expected.first + expected.count, expected.offset));
  }
  return payload;
}

Bytes write_index(const Index& index) {
  ByteWriter out;
  out.put_varint(index.records.size());
  for (const Record& r : index.records) {
    out.put_varint(static_cast<uint64_t>(r.kind));
    out.put_varint(r.count);
    out.put_varint(r.offset);
    out.put_varint(r.length);
  }
  out.put_varint(index.pending.size());
  put_tokens(index.pending, out);
  if (index.states.empty()) return out.take();
  out.put_varint(index.states.size());
  for (const StoredState& s : index.states) {
    out.put_varint(s.record.first);
    out.put_varint(s.record.offset);
    out.put_varint(s.record.length);
    out.put_varint(s.bytes);
  }
  return out.take();
}

Result<Index> parse_index(ByteSpan payload, const SessionInfo& info, uint64_t begin, uint64_t end) {
  ByteReader in(payload);
  Index index;
  constexpr size_t kLeastEntry = 4;
  KVS_ASSIGN(const size_t records, get_number(in, "records", 0, payload.size() / kLeastEntry));
  size_t tokens = 0;
  uint64_t free = begin;
  for (size_t i = 0; i < records; ++i) {
    KVS_ASSIGN(Record record, get_record(in, info, free, end));
    free = record.end();
    record.first = tokens;
    tokens += record.count;
    if (tokens > limits::kTokens) {
      return format_error(fmt::format("more than {} tokens", limits::kTokens));
    }
    index.records.push_back(record);
  }
  KVS_ASSIGN(const size_t pending, get_number(in, "pending tokens", 0, payload.size()));
  KVS_ASSIGN(index.pending, get_tokens(in, pending));
  if (info.format >= kSecondFormat && in.left() > 0) {
    KVS_ASSIGN(index.states, get_states(in, tokens, begin, end));
  }
  if (in.left() > 0) return format_error(fmt::format("{} bytes behind the index", in.left()));
  return index;
}

Bytes write_trailer(uint64_t index_offset, uint64_t end) {
  ByteWriter out;
  out.put(index_offset);
  out.put(end);
  out.put_bytes(kEndMagic);
  return out.take();
}

Result<uint64_t> parse_trailer(ByteSpan bytes, uint64_t end) {
  ByteReader in(bytes);
  KVS_ASSIGN(const uint64_t index_offset, in.get<uint64_t>());
  KVS_ASSIGN(const uint64_t stored_end, in.get<uint64_t>());
  KVS_ASSIGN(const ByteSpan magic, in.take(kEndMagic.size()));
  const bool sound = std::equal(magic.begin(), magic.end(), kEndMagic.begin()) &&
                     stored_end == end && end >= kTrailer + kRecordHead &&
                     index_offset <= end - kTrailer - kRecordHead;
  if (!sound) return format_error("no end of a session here");
  return index_offset;
}

ByteSpan trailer_magic() { return kEndMagic; }

void put_tokens(std::span<const int32_t> tokens, ByteWriter& out) {
  for (int32_t token : tokens) out.put_varint(static_cast<uint32_t>(token));
}

Result<std::vector<int32_t>> get_tokens(ByteReader& in, size_t count) {
  if (count > in.left()) {
    return format_error(fmt::format("truncated: {} tokens in {} bytes", count, in.left()));
  }
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) {
    KVS_ASSIGN(const size_t value, get_number(in, "token", 0, std::numeric_limits<int32_t>::max()));
    token = static_cast<int32_t>(value);
  }
  return tokens;
}

}  // namespace kvsplice::session
