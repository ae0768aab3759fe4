// session.kvz from the byte's side: header, records, index, trailer. docs/format.md is the
// specification; this file is its counterpart in code. Parsing treats bytes as hostile.
#pragma once

#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/shape.h"

namespace kvsplice::session {

// What a file needs of its readers: 2 if it has records of states, or a layer without values.
constexpr uint16_t kOldestFormat = 1, kSecondFormat = 2, kNewestFormat = 2;

struct SessionInfo {
  std::string codec;     // fingerprint; empty: lossless
  std::string pipeline;  // its text, for people
  std::string model;     // fingerprint
  std::string model_name, architecture;
  size_t block_tokens = 256;
  size_t sinks = 4;                // first tokens that are kept exact
  size_t window = 32;              // newest tokens that are kept exact
  std::vector<LayerShape> layers;  // what their rows look like; nothing of rotation and chunks
  uint16_t format = kOldestFormat;

  bool lossless() const { return codec.empty(); }
  bool operator==(const SessionInfo&) const = default;
};

// What a session says of its model, which is all that a lossless one needs; nothing of rotations.
ModelShape shape_of(const SessionInfo& info);

enum class RecordKind : uint32_t { coded = 1, exact = 2, index = 3, state = 4 };
const char* name(RecordKind kind);

struct Record {
  RecordKind kind = RecordKind::coded;
  uint64_t offset = 0;          // in the file, of the record's head
  uint64_t length = 0;          // of its payload
  size_t first = 0, count = 0;  // tokens

  uint64_t end() const;
  bool operator==(const Record&) const = default;
};

// A recurrent state behind the first record.first tokens; it has no tokens of its own.
struct StoredState {
  Record record;
  uint64_t bytes = 0;  // that its rows take in llama.cpp

  bool operator==(const StoredState&) const = default;
};

// What the tail of a file says is in it.
struct Index {
  std::vector<Record> records;      // in the order of their tokens, without gaps
  std::vector<int32_t> pending;     // tokens behind the last cell, not evaluated yet
  std::vector<StoredState> states;  // ascending

  size_t tokens() const {
    return records.empty() ? 0 : records.back().first + records.back().count;
  }
  bool operator==(const Index&) const = default;
};

constexpr size_t kHeaderStart = 16;  // bytes that tell the length of the header
constexpr size_t kRecordHead = 32;
constexpr size_t kTrailer = 24;

Bytes write_header(const SessionInfo& info);
// `start`: at least kHeaderStart bytes. Error if this is no session or of a version not read here.
Result<size_t> header_length(ByteSpan start);
Result<SessionInfo> parse_header(ByteSpan header);

Bytes write_record(const Record& record, ByteSpan payload);
// Compares head and checksum with what the index says; returns the payload, in place.
Result<ByteSpan> parse_record(ByteSpan bytes, const Record& expected);

Bytes write_index(const Index& index);
// Records must lie in [begin, end) of the file, one behind the other, each of at least a byte a
// token: so an index cannot claim more tokens than the file has bytes. So must states, among
// themselves.
Result<Index> parse_index(ByteSpan payload, const SessionInfo& info, uint64_t begin, uint64_t end);

Bytes write_trailer(uint64_t index_offset, uint64_t end);
// The offset of the index if these kTrailer bytes are a trailer that ends at `end`.
Result<uint64_t> parse_trailer(ByteSpan bytes, uint64_t end);
ByteSpan trailer_magic();  // the last bytes of a trailer

// Tokens at the front of a record's payload.
void put_tokens(std::span<const int32_t> tokens, ByteWriter& out);
Result<std::vector<int32_t>> get_tokens(ByteReader& in, size_t count);

}  // namespace kvsplice::session
