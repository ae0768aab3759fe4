#include "session/session_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/limits.h"
#include "core/memory.h"

namespace kvsplice::session {

namespace {

Error named(const std::string& path, const Error& error) {
  if (error.message.find(path) != std::string::npos) return error;
  return {error.kind, path + ": " + error.message};
}

}  // namespace

Result<SessionReader> SessionReader::open(const std::string& path) {
  return within_memory([&]() -> Result<SessionReader> {
    KVS_ASSIGN(DiskFile file, DiskFile::open(path));
    return read_from(std::move(file));
  });
}

Result<SessionReader> SessionReader::open(std::shared_ptr<const ByteSource> source,
                                          std::string name) {
  return within_memory([&]() -> Result<SessionReader> {
    SessionReader reader(std::move(source), std::move(name));
    KVS_TRY(reader.load());
    return reader;
  });
}

Result<SessionReader> SessionReader::read_from(DiskFile file) {
  const auto held = std::make_shared<DiskFile>(std::move(file));
  SessionReader reader(file_source(held), held->path());
  reader.file_ = held;
  KVS_TRY(reader.load());
  return reader;
}

Result<> SessionReader::load() {
  const auto loaded = [&]() -> Result<> {
    const size_t start = std::min<uint64_t>(kHeaderStart, source_->size());
    KVS_ASSIGN(const Bytes first, read_bytes(*source_, 0, start));
    KVS_ASSIGN(header_bytes_, header_length(first));
    KVS_ASSIGN(const Bytes header, read_bytes(*source_, 0, header_bytes_));
    KVS_ASSIGN(info_, parse_header(header));
    return find_end();
  }();
  return loaded.ok() ? loaded : named(name_, loaded.error());
}

// Sets the index from the trailer that ends at `end`, if there is one.
Result<> SessionReader::load_index(uint64_t end) {
  if (end < header_bytes_ + kRecordHead + kTrailer) {
    return Error{ErrorKind::format, "no index behind the header"};
  }
  KVS_ASSIGN(const Bytes trailer, read_bytes(*source_, end - kTrailer, kTrailer));
  KVS_ASSIGN(const uint64_t offset, parse_trailer(trailer, end));
  if (offset < header_bytes_) return Error{ErrorKind::format, "an index inside the header"};
  Record record;
  record.kind = RecordKind::index;
  record.offset = offset;
  record.length = end - kTrailer - kRecordHead - offset;
  KVS_ASSIGN(const Bytes bytes, read_bytes(*source_, offset, kRecordHead + record.length));
  KVS_ASSIGN(const ByteSpan payload, parse_record(bytes, record));
  KVS_ASSIGN(index_, parse_index(payload, info_, header_bytes_, offset));
  end_ = end;
  index_bytes_ = bytes.size() + kTrailer;
  return {};
}

// The last sound trailer is normally the end of the file; behind it may lie what an interrupted
// append has left.
Result<> SessionReader::find_end() {
  const uint64_t size = source_->size();
  if (load_index(size).ok()) return {};
  constexpr size_t kChunk = 1 << 20;
  constexpr int kMostTries = 64;  // bounds the work that planted trailers can cause
  const ByteSpan magic = trailer_magic();
  int tries = 0;
  for (uint64_t high = size; high > header_bytes_ && tries < kMostTries;) {
    const uint64_t low = std::max<uint64_t>(header_bytes_, high > kChunk ? high - kChunk : 0);
    // Overlaps the chunk above, so that no trailer's end is cut in two.
    const uint64_t top = std::min<uint64_t>(size, high + magic.size() - 1);
    KVS_ASSIGN(const Bytes chunk, read_bytes(*source_, low, top - low));
    for (auto at = chunk.end(); tries < kMostTries; ++tries) {
      const auto found = std::find_end(chunk.begin(), at, magic.begin(), magic.end());
      if (found == at) break;
      const auto behind = static_cast<size_t>(found - chunk.begin()) + magic.size();
      if (load_index(low + behind).ok()) return {};
      at = found + static_cast<ptrdiff_t>(magic.size()) - 1;
    }
    high = low;
  }
  return Error{ErrorKind::format, fmt::format("truncated: no sound index in {} bytes", size)};
}

uint64_t SessionReader::live_bytes() const {
  uint64_t sum = header_bytes_ + index_bytes_;
  for (const Record& r : index_.records) sum += r.end() - r.offset;
  for (const StoredState& s : index_.states) sum += s.record.end() - s.record.offset;
  return sum;
}

Result<Bytes> SessionReader::read(const Record& record) const {
  return within_memory([&]() -> Result<Bytes> {
    auto read = read_bytes(*source_, record.offset, kRecordHead + record.length);
    if (!read.ok()) return named(name_, read.error());
    Bytes bytes = std::move(*read);
    const auto payload = parse_record(bytes, record);
    if (!payload.ok()) return named(name_, payload.error());
    bytes.erase(bytes.begin(), bytes.begin() + kRecordHead);
    return bytes;
  });
}

std::vector<size_t> SessionReader::state_positions() const {
  std::vector<size_t> positions;
  for (const StoredState& s : index_.states) positions.push_back(s.record.first);
  return positions;
}

Result<RecurrentState> SessionReader::read_state(size_t position) const {
  return within_memory([&]() -> Result<RecurrentState> {
    for (const StoredState& stored : index_.states) {
      if (stored.record.first != position) continue;
      KVS_ASSIGN(const Bytes payload, read(stored.record));
      auto state = decode_state(payload, position);
      if (!state.ok()) return named(name_, state.error());
      return state;
    }
    return named(name_, no_state_behind(position, state_positions()));
  });
}

// Writes the header.
Result<SessionWriter> SessionWriter::begin(SessionWriter writer) {
  const Bytes header = write_header(writer.info_);
  if (const auto readable = parse_header(header); !readable.ok()) {
    return Error{ErrorKind::usage, readable.error().message};
  }
  KVS_TRY(writer.write_behind(header));
  return writer;
}

Result<SessionWriter> SessionWriter::create(OutputFile output, const SessionInfo& info) {
  return begin({DiskFile::replace(std::move(output)), info});
}

Result<SessionWriter> SessionWriter::create(SessionSink sink, const SessionInfo& info) {
  return begin({std::move(sink), info});
}

Result<SessionWriter> SessionWriter::create(const std::string& path, const SessionInfo& info) {
  KVS_ASSIGN(OutputFile output, OutputFile::reserve(path, Readers::owner));
  return create(std::move(output), info);
}

Result<SessionWriter> SessionWriter::extend(const std::string& path) {
  KVS_ASSIGN(DiskFile file, DiskFile::extend(path));
  KVS_ASSIGN(SessionReader reader, SessionReader::read_from(std::move(file)));
  SessionWriter writer(std::move(*reader.file_), reader.info_);
  writer.index_ = reader.index_;
  writer.end_ = writer.committed_ = reader.end_;
  return writer;
}

// Byte by byte: records keep their places.
Result<SessionWriter> SessionWriter::copy(OutputFile output, const SessionReader& from) {
  SessionWriter writer(DiskFile::replace(std::move(output)), from.info_);
  constexpr uint64_t kPiece = 1 << 20;
  while (writer.end_ < from.end_) {
    const size_t n = std::min(kPiece, from.end_ - writer.end_);
    KVS_ASSIGN(const Bytes piece, read_bytes(*from.source_, writer.end_, n));
    KVS_TRY(writer.write_behind(piece));
  }
  writer.index_ = from.index_;
  return writer;
}

Result<SessionWriter> SessionWriter::continue_at(const std::string& path,
                                                 const SessionReader& from) {
  if (from.file_ == nullptr) {
    return Error{ErrorKind::usage,
                 from.name_ + " was not read from a file and cannot go on in one"};
  }
  if (!from.file_->is_at(path)) {
    KVS_ASSIGN(OutputFile output, from.file_->reserve_copy(path));
    return copy(std::move(output), from);
  }
  KVS_ASSIGN(SessionWriter writer, extend(path));
  const Index &now = writer.index_, &then = from.index_;
  if (now == then) return writer;
  return Error{ErrorKind::io, path + " was changed by another program meanwhile"};
}

// Bytes of a failed write may lie anywhere behind the last commit, which readers find without them.
Error SessionWriter::give_up(const Error& error) {
  failed_ = true;
  if (file_ && committed_ > 0) (void)file_->resize(committed_).ok();
  return error;
}

Result<> SessionWriter::check_usable() const {
  if (!file_ && committed_ > 0) {
    return Error{ErrorKind::usage, name_ + " is whole; nothing can follow where it was written"};
  }
  if (!failed_) return {};
  return Error{ErrorKind::io, name_ + ": writing has failed before; nothing can follow"};
}

Result<> SessionWriter::write_behind(ByteSpan bytes) {
  const auto written = file_ ? file_->write(end_, bytes) : sink_(bytes);
  if (!written.ok()) {
    return give_up(written.error());
  }
  end_ += bytes.size();
  return {};
}

Result<> SessionWriter::add(RecordKind kind, size_t count, ByteSpan payload) {
  KVS_TRY(check_usable());
  const size_t first = index_.tokens();
  if (payload.size() < count) {
    return Error{ErrorKind::usage, fmt::format("{} bytes for {} tokens; legal: at least one each",
                                               payload.size(), count)};
  }
  if (count == 0 || count > info_.block_tokens || first + count > limits::kTokens) {
    return Error{ErrorKind::usage,
                 fmt::format("a record of {} tokens behind {}; legal: 1 ... {}, {} in all", count,
                             first, info_.block_tokens, limits::kTokens)};
  }
  const Record record{kind, end_, payload.size(), first, count};
  KVS_TRY(write_behind(write_record(record, payload)));
  index_.records.push_back(record);
  return {};
}

Result<> SessionWriter::add(const RecurrentState& state, StateEncoding encoding) {
  if (encoding == StateEncoding::q8) KVS_TRY(check_finite(state));
  StoredState stored;
  stored.record.first = state.position;
  stored.bytes = state.bytes();
  return copy_state(stored, encode_state(state, encoding));
}

Result<> SessionWriter::copy_state(const StoredState& state, ByteSpan payload) {
  KVS_TRY(check_usable());
  const size_t at = state.record.first,
               last = index_.states.empty() ? 0 : index_.states.back().record.first;
  if (info_.format < kSecondFormat || at <= last || at > limits::kTokens) {
    return Error{ErrorKind::usage,
                 fmt::format("a state behind token {} in a session of format {} whose last is "
                             "behind token {}",
                             at, info_.format, last)};
  }
  StoredState stored = state;
  stored.record = {RecordKind::state, end_, payload.size(), at, 0};
  KVS_TRY(write_behind(write_record(stored.record, payload)));
  index_.states.push_back(stored);
  return {};
}

void SessionWriter::forget_state(size_t position) {
  std::erase_if(index_.states, [&](const StoredState& s) { return s.record.first == position; });
}

Result<> SessionWriter::forget_from(size_t first) {
  KVS_TRY(check_usable());
  const auto at = std::find_if(index_.records.begin(), index_.records.end(),
                               [&](const Record& r) { return r.first >= first; });
  if (first != (at == index_.records.end() ? index_.tokens() : at->first)) {
    return Error{ErrorKind::usage, fmt::format("no record begins at token {}", first)};
  }
  index_.records.erase(at, index_.records.end());
  return {};
}

Result<> SessionWriter::commit(std::span<const int32_t> pending) {
  KVS_TRY(check_usable());
  index_.pending.assign(pending.begin(), pending.end());
  std::erase_if(index_.states,
                [&](const StoredState& s) { return s.record.first > index_.tokens(); });
  if (const auto done = write_index_behind(); !done.ok()) return give_up(done.error());
  committed_ = end_;
  return {};
}

Result<> SessionWriter::write_index_behind() {
  // Records must be on the disk before an index that names them.
  if (file_) KVS_TRY(file_->flush());
  const uint64_t offset = end_;
  const Bytes payload = write_index(index_);
  ByteWriter tail;
  Record record;
  record.kind = RecordKind::index;
  record.length = payload.size();
  tail.put_bytes(write_record(record, payload));
  tail.put_bytes(write_trailer(offset, offset + tail.size() + kTrailer));
  KVS_TRY(write_behind(tail.bytes()));
  if (!file_) return {};
  if (file_->size() > end_) KVS_TRY(file_->resize(end_));  // what an interrupted append had left
  return file_->publish();
}

Result<> compact(const std::string& path) {
  KVS_ASSIGN(DiskFile locked, DiskFile::extend(path));
  KVS_ASSIGN(const SessionReader reader, SessionReader::read_from(std::move(locked)));
  KVS_ASSIGN(OutputFile output, reader.file_->replacement());
  KVS_ASSIGN(SessionWriter writer, SessionWriter::create(std::move(output), reader.info()));
  for (const Record& record : reader.index().records) {
    KVS_ASSIGN(const Bytes payload, reader.read(record));
    KVS_TRY(writer.add(record.kind, record.count, payload));
  }
  for (const StoredState& state : reader.index().states) {
    KVS_ASSIGN(const Bytes payload, reader.read(state.record));
    KVS_TRY(writer.copy_state(state, payload));
  }
  return writer.commit(reader.index().pending);
}

}  // namespace kvsplice::session
