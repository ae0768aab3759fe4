// Sessions: cells of a cache packed by a codec, or without loss, into session.kvz, and read back.
// The first `sinks` tokens and the newest `window` stay exact; the tokens between are coded in
// independent blocks.
#pragma once

#include <optional>
#include <string>

#include "core/limits.h"
#include "core/progress.h"
#include "session/cells.h"
#include "session/records.h"
#include "session/session_file.h"

namespace kvsplice::session {

// Recurrent states of a hybrid, ascending, none behind more tokens than there will be.
struct StatesToStore {
  std::span<const RecurrentState> states = {};
  StateEncoding encoding = StateEncoding::exact;
  size_t instead_of = 0;  // of a session that goes on: the state behind so many tokens is dropped
};

struct PackOptions {
  std::optional<size_t> block_tokens;  // if not given 256, or what the codec's rows reach
  size_t sinks = 4;
  size_t window = 32;
};

// Writes a new session of cells that begin at position 0. pending: tokens behind them.
Result<> pack(OutputFile out, const KvView& cells, std::span<const int32_t> pending,
              const Coder& coder, const PackOptions& options, const Progress& progress,
              const StatesToStore& states = {});
Result<> pack(const std::string& path, const KvView& cells, std::span<const int32_t> pending,
              const Coder& coder, const PackOptions& options, const Progress& progress,
              const StatesToStore& states = {});
Result<> pack(SessionSink out, const KvView& cells, std::span<const int32_t> pending,
              const Coder& coder, const PackOptions& options, const Progress& progress,
              const StatesToStore& states = {});

class Session {
 public:
  // Error mismatch if the session was made for another model or by another codec.
  static Result<Session> open(const std::string& path, const Coder& coder);
  static Result<Session> open(SessionReader reader, const Coder& coder);

  const SessionReader& file() const { return reader_; }
  size_t size() const { return reader_.index().tokens(); }
  // Of a hybrid: the recurrent state behind the first n tokens, with the rows that the model keeps.
  Result<RecurrentState> state_at(size_t n) const;
  // The tokens [first, first + n), and how many first ones have no rows in layers with a window: up
  // to the last block that was packed without them. Nothing is decoded.
  struct Outline {
    std::vector<int32_t> tokens;
    size_t absent = 0;
  };
  Result<Outline> outline(size_t first, size_t n) const;
  // Cells [first, first + n); only the blocks they lie in are read. Memory follows what has been
  // read: a small file that claims much takes little before the claim is found out.
  Result<KvBlock<uint16_t>> read(size_t first, size_t n, const Progress& progress,
                                 const ReadLimits& limits = {}) const;
  // The same, each row straight to its place. `to` is for n tokens, and has no place in layers with
  // a window for rows that are absent.
  Result<> read(size_t first, size_t n, const KvPlace& to, const Progress& progress) const;

 private:
  Session(SessionReader reader, const Coder& coder) : reader_(std::move(reader)), coder_(coder) {}
  Result<std::vector<Record>> records_of(size_t first, size_t n) const;

  SessionReader reader_;
  Coder coder_;
};

// Adds cells that follow at once. Blocks that are there stay as they are; what was the window is
// coded now. Rewrites the file only when more than half of it would be forgotten records.
Result<> extend(const std::string& path, const KvView& more, std::span<const int32_t> pending,
                const Coder& coder, const Progress& progress, const StatesToStore& states = {});
// The same by a writer of the session, or of its copy, that was held meanwhile.
Result<> extend(SessionWriter writer, const Session& session, const KvView& more,
                std::span<const int32_t> pending, const Coder& coder, const Progress& progress,
                const StatesToStore& states = {});

// The tokens of a session, which need neither model nor codec.
Result<std::vector<int32_t>> read_tokens(const SessionReader& reader);

}  // namespace kvsplice::session
