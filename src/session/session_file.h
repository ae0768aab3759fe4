// A session.kvz, on the disk or wherever its bytes are: reading records, and adding records behind
// those that are there. What a commit has made visible stays readable whatever happens to a later
// append.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/byte_source.h"
#include "core/disk_file.h"
#include "session/format.h"
#include "session/recurrent.h"

namespace kvsplice::session {

class SessionReader {
 public:
  static Result<SessionReader> open(const std::string& path);
  // The name is for messages.
  static Result<SessionReader> open(std::shared_ptr<const ByteSource> source, std::string name);

  const std::string& name() const { return name_; }  // or the path
  const SessionInfo& info() const { return info_; }
  const Index& index() const { return index_; }
  uint64_t file_bytes() const { return source_->size(); }
  uint64_t end() const { return end_; }  // behind the last trailer
  // Bytes behind the end: an append was interrupted. They are ignored.
  uint64_t ignored_bytes() const { return source_->size() - end_; }
  uint64_t live_bytes() const;  // header, records of the index, the index itself

  // The payload of a record of the index, checked.
  Result<Bytes> read(const Record& record) const;
  // The recurrent state behind the first `position` tokens; error mismatch, which says where there
  // are some, if there is none.
  Result<RecurrentState> read_state(size_t position) const;
  std::vector<size_t> state_positions() const;

 private:
  friend class SessionWriter;
  friend Result<> compact(const std::string& path);
  SessionReader(std::shared_ptr<const ByteSource> source, std::string name)
      : source_(std::move(source)), name_(std::move(name)) {}
  static Result<SessionReader> read_from(DiskFile file);
  Result<> load();
  Result<> find_end();
  Result<> load_index(uint64_t end);

  std::shared_ptr<const ByteSource> source_;
  std::string name_;
  std::shared_ptr<DiskFile> file_;  // what source_ reads, if that is a file
  SessionInfo info_;
  Index index_;
  uint64_t header_bytes_ = 0, index_bytes_ = 0, end_ = 0;
};

// Takes the bytes of a new session, one piece behind the other.
using SessionSink = std::function<Result<>(ByteSpan piece)>;

class SessionWriter {
 public:
  // A new session; it appears under its name with the first commit.
  static Result<SessionWriter> create(OutputFile output, const SessionInfo& info);
  static Result<SessionWriter> create(const std::string& path, const SessionInfo& info);
  // The same, to a sink. The session is whole with the first commit, and nothing can follow.
  static Result<SessionWriter> create(SessionSink sink, const SessionInfo& info);
  // Continues a session; no other writer may have it open.
  static Result<SessionWriter> extend(const std::string& path);
  // The same at any path: in place if the session was read from there, else in a copy, whose mode
  // is that of the original. Error usage if it was read from elsewhere than a file.
  static Result<SessionWriter> continue_at(const std::string& path, const SessionReader& from);

  const std::string& path() const { return name_; }
  const SessionInfo& info() const { return info_; }
  const Index& index() const { return index_; }

  // Adds a record of `count` tokens behind the last.
  Result<> add(RecordKind kind, size_t count, ByteSpan payload);
  // Adds a recurrent state behind those of fewer tokens, of which records need not be there yet.
  Result<> add(const RecurrentState& state, StateEncoding encoding);
  // Takes the state behind so many tokens out of the index, if there is one.
  void forget_state(size_t position);
  // Takes the records of tokens from `first` on out of the index; `first` must begin a record.
  // Their bytes stay until the file is compacted.
  Result<> forget_from(size_t first);
  // Makes what was added the content of the file, with these tokens pending behind it. A writer
  // that could not write, once, does nothing any more.
  Result<> commit(std::span<const int32_t> pending);

 private:
  static Result<SessionWriter> copy(OutputFile output, const SessionReader& from);
  SessionWriter(DiskFile file, SessionInfo info)
      : name_(file.path()), file_(std::move(file)), info_(std::move(info)) {}
  SessionWriter(SessionSink sink, SessionInfo info)
      : name_("the session"), sink_(std::move(sink)), info_(std::move(info)) {}
  static Result<SessionWriter> begin(SessionWriter writer);
  Error give_up(const Error& error);
  Result<> check_usable() const;
  Result<> write_behind(ByteSpan bytes);
  Result<> write_index_behind();
  Result<> copy_state(const StoredState& state, ByteSpan payload);
  friend Result<> compact(const std::string& path);

  std::string name_;
  std::optional<DiskFile> file_;
  SessionSink sink_;  // instead of file_
  SessionInfo info_;
  Index index_;
  uint64_t end_ = 0;        // where the next bytes go
  uint64_t committed_ = 0;  // behind the last trailer
  bool failed_ = false;
};

// Rewrites a session without the bytes of forgotten records, and keeps writers out meanwhile.
// Records are copied as they are.
Result<> compact(const std::string& path);

}  // namespace kvsplice::session
