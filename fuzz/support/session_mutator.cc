#include "support/session_mutator.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/limits.h"
#include "support/driver.h"

namespace kvsplice::fuzz {

using namespace session;

namespace {

constexpr size_t kChecksum = 8, kLengthAt = 12;

// The tail of a session whose records end here.
Bytes tail_of(ByteSpan index, uint64_t offset) {
  Record record;
  record.kind = RecordKind::index;
  record.length = index.size();
  ByteWriter tail;
  tail.put_bytes(write_record(record, index));
  tail.put_bytes(write_trailer(offset, offset + tail.size() + kTrailer));
  return tail.take();
}

Result<Index> read_index(ByteSpan bytes, size_t header, const SessionInfo& info) {
  if (bytes.size() < header + kRecordHead + kTrailer) {
    return Error{ErrorKind::format, "no index"};
  }
  KVS_ASSIGN(const uint64_t offset, parse_trailer(bytes.last(kTrailer), bytes.size()));
  const size_t end = bytes.size() - kTrailer;
  return parse_index(bytes.subspan(offset + kRecordHead, end - offset - kRecordHead), info, header,
                     offset);
}

void mutate_record(SessionParts& parts, Random& random) {
  const size_t i = random.below(parts.records.size());
  Record& record = parts.records[i];
  const auto at = static_cast<ptrdiff_t>(i);
  switch (random.below(12)) {
    case 0:
      record.count += random.below(2) == 0 ? 1 : -size_t{1};
      break;
    case 1:
      record.count = odd_number(random);
      break;
    case 2:
      record.kind = record.kind == RecordKind::exact ? RecordKind::coded : RecordKind::exact;
      break;
    case 3:
      parts.records.erase(parts.records.begin() + at);
      parts.payloads.erase(parts.payloads.begin() + at);
      break;
    case 4:
      parts.records.insert(parts.records.begin() + at, record);
      parts.payloads.insert(parts.payloads.begin() + at, Bytes(parts.payloads[i]));
      break;
    default:
      parts.payloads[i] = mutate_bytes(parts.payloads[i]);
  }
}

void mutate_state(SessionParts& parts, Random& random) {
  const size_t i = random.below(parts.states.size());
  StoredState& state = parts.states[i];
  switch (random.below(8)) {
    case 0:
      state.record.first = odd_number(random);
      break;
    case 1:
      state.bytes = odd_number(random);
      break;
    case 2:
      parts.states.erase(parts.states.begin() + static_cast<ptrdiff_t>(i));
      parts.state_payloads.erase(parts.state_payloads.begin() + static_cast<ptrdiff_t>(i));
      break;
    default:
      parts.state_payloads[i] = mutate_bytes(parts.state_payloads[i]);
  }
}

// Entries that claim what the records do not say.
Bytes with_another_index(const SessionParts& parts) {
  Bytes bytes = write_session(parts);
  const auto header = header_length(bytes);
  if (!header.ok() || *header > bytes.size()) return bytes;
  const uint64_t offset = parse_trailer(ByteSpan(bytes).last(kTrailer), bytes.size()).value();
  const ByteSpan index =
      ByteSpan(bytes).subspan(offset + kRecordHead, bytes.size() - kTrailer - offset - kRecordHead);
  const Bytes tail = tail_of(mutate_bytes(index), offset);
  bytes.resize(offset);
  bytes.insert(bytes.end(), tail.begin(), tail.end());
  return bytes;
}

}  // namespace

void repair_header(Bytes& bytes) {
  if (bytes.size() < kHeaderStart + kChecksum) return;
  const auto length = static_cast<uint32_t>(bytes.size());
  std::memcpy(&bytes[kLengthAt], &length, sizeof length);
  const uint64_t sum = XXH64(bytes.data(), bytes.size() - kChecksum, 0);
  std::memcpy(&bytes[bytes.size() - kChecksum], &sum, kChecksum);
}

Result<SessionParts> parse_session(ByteSpan bytes) {
  SessionParts parts;
  KVS_ASSIGN(const size_t length, header_length(bytes));
  if (length > bytes.size()) return Error{ErrorKind::format, "truncated"};
  parts.header.assign(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(length));
  auto info = parse_header(parts.header);
  if (!info.ok()) {
    info = SessionInfo();
    info->block_tokens = limits::kBlockTokens;
  }
  KVS_ASSIGN(const Index index, read_index(bytes, length, *info));
  parts.records = index.records;
  parts.pending = index.pending;
  for (const Record& record : parts.records) {
    const ByteSpan payload = bytes.subspan(record.offset + kRecordHead, record.length);
    parts.payloads.emplace_back(payload.begin(), payload.end());
  }
  parts.states = index.states;
  for (const StoredState& state : parts.states) {
    const ByteSpan payload = bytes.subspan(state.record.offset + kRecordHead, state.record.length);
    parts.state_payloads.emplace_back(payload.begin(), payload.end());
  }
  return parts;
}

Bytes write_session(SessionParts parts) {
  repair_header(parts.header);
  Bytes file = parts.header;
  Index index;
  index.pending = parts.pending;
  size_t first = 0;
  for (size_t i = 0; i < parts.records.size(); ++i) {
    Record record = parts.records[i];
    record.first = first;
    first += record.count;
    record.offset = file.size();
    record.length = parts.payloads[i].size();
    const Bytes written = write_record(record, parts.payloads[i]);
    file.insert(file.end(), written.begin(), written.end());
    index.records.push_back(record);
  }
  for (size_t i = 0; i < parts.states.size(); ++i) {
    StoredState state = parts.states[i];
    state.record.offset = file.size();
    state.record.length = parts.state_payloads[i].size();
    const Bytes written = write_record(state.record, parts.state_payloads[i]);
    file.insert(file.end(), written.begin(), written.end());
    index.states.push_back(state);
  }
  const Bytes tail = tail_of(write_index(index), file.size());
  file.insert(file.end(), tail.begin(), tail.end());
  return file;
}

Bytes mutate_session(ByteSpan bytes, Random& random) {
  auto parts = parse_session(bytes);
  const uint64_t choice = random.below(8);
  if (!parts.ok() || choice == 0) return mutate_bytes(bytes);
  if (choice == 1) {
    parts->header = mutate_bytes(parts->header);
  } else if (choice == 2) {
    parts->pending.resize(random.below(4), static_cast<int32_t>(odd_number(random)));
  } else if (choice == 3) {
    return with_another_index(*parts);
  } else if (choice == 4 && !parts->states.empty()) {
    mutate_state(*parts, random);
  } else if (!parts->records.empty()) {
    mutate_record(*parts, random);
  }
  return write_session(std::move(*parts));
}

}  // namespace kvsplice::fuzz
