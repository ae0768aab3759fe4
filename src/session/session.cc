#include "session/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "core/limits.h"
#include "core/memory.h"
#include "core/same_cache.h"
#include "core/threads.h"

namespace kvsplice::session {

namespace {

SessionInfo describe(const Coder& coder, const PackOptions& options) {
  SessionInfo info;
  if (coder.codec != nullptr) {
    info.codec = coder.codec->fingerprint();
    info.pipeline = codec::print(coder.codec->text());
  }
  info.model = coder.shape.fingerprint;
  info.model_name = coder.shape.model_name;
  info.architecture = coder.shape.architecture;
  info.block_tokens = options.block_tokens.value_or(
      coder.codec != nullptr ? coder.codec->block_tokens() : codec::kBlockTokens);
  info.sinks = options.sinks;
  info.window = options.window;
  if (coder.codec != nullptr && coder.codec->of_cells()) info.sinks = info.window = 0;
  if (coder.shape.hybrid() || coder.shape.lacks_values()) info.format = kSecondFormat;
  info.layers = coder.shape.layers;
  for (LayerShape& layer : info.layers) {
    layer.rope = {};
    layer.chunked = false;
  }
  return info;
}

Result<> check_session(const SessionReader& reader, const Coder& coder) {
  KVS_TRY(coder.check());
  const SessionInfo& info = reader.info();
  const SessionInfo wanted = describe(coder, {});
  KVS_TRY(same_cache(reader.name() + " was made with", shape_of(info), "the model at hand",
                     shape_of(wanted)));
  if (info.lossless() || info.codec == wanted.codec) return {};
  return Error{
      ErrorKind::mismatch,
      fmt::format("{} was packed by codec {} ({}); {}", reader.name(), info.codec, info.pipeline,
                  wanted.codec.empty() ? "none was given" : "the one given is " + wanted.codec)};
}

// A record to be: consecutive tokens of the cells at hand.
struct Piece {
  RecordKind kind;
  size_t from, count;
};

void cut_pieces(RecordKind kind, size_t from, size_t end, size_t block, std::vector<Piece>& out) {
  for (; from < end; from += block) out.push_back({kind, from, std::min(block, end - from)});
}

// A piece has all cells of layers with a window, or none.
void cut_where_cells_begin(size_t absent, std::vector<Piece>& pieces) {
  for (size_t i = 0; i < pieces.size(); ++i) {
    Piece& piece = pieces[i];
    if (absent <= piece.from || absent >= piece.from + piece.count) continue;
    const Piece rest{piece.kind, absent, piece.from + piece.count - absent};
    piece.count = absent - piece.from;
    pieces.insert(pieces.begin() + static_cast<ptrdiff_t>(i) + 1, rest);
    return;
  }
}

// How the cells from position `first` on are cut: sinks, blocks, window.
std::vector<Piece> plan(size_t first, size_t count, size_t absent, const SessionInfo& info) {
  const size_t end = first + count;
  const size_t sinks = std::clamp(info.sinks, first, end);
  const size_t window = std::max(sinks, end > info.window ? end - info.window : 0);
  const auto middle = info.lossless() ? RecordKind::exact : RecordKind::coded;
  std::vector<Piece> pieces;
  cut_pieces(RecordKind::exact, 0, sinks - first, info.block_tokens, pieces);
  cut_pieces(middle, sinks - first, window - first, info.block_tokens, pieces);
  cut_pieces(RecordKind::exact, window - first, count, info.block_tokens, pieces);
  cut_where_cells_begin(absent, pieces);
  return pieces;
}

Result<Bytes> record_of(const KvView& cells, RecordKind kind, const Coder& coder) {
  ByteWriter out;
  put_tokens(cells.tokens, out);
  KVS_ASSIGN(const Bytes bytes, encode_cells(cells, kind, coder));
  out.put_bytes(bytes);
  return out.take();
}

// Cells that are written one behind the other: those a session ends with, read back, and others.
struct CellsToWrite {
  KvView old, more;

  size_t count() const { return old.count() + more.count(); }
  size_t absent() const { return more.absent > 0 ? old.count() + more.absent : old.absent; }
};

// A piece is copied only if it begins among the old cells and ends among the others.
Result<Bytes> encode(const CellsToWrite& cells, const Piece& piece, const Coder& coder) {
  const size_t old = cells.old.count(), end = piece.from + piece.count;
  KvBlock<uint16_t> both;
  KvView part;
  if (end <= old) {
    part = cells.old.slice(piece.from, piece.count);
  } else if (piece.from >= old) {
    part = cells.more.slice(piece.from - old, piece.count);
  } else {
    const size_t first = first_position(cells.old) + piece.from;
    both = KvBlock<uint16_t>(coder.shape, Space::cached, first, piece.count);
    put(both, 0, cells.old, piece.from, old - piece.from);
    put(both, old - piece.from, cells.more, 0, end - old);
    part = both;
  }
  part.absent = end <= cells.absent() ? piece.count : 0;
  return record_of(part, piece.kind, coder);
}

// A record's payload: its tokens and what follows them.
struct Payload {
  Bytes bytes;
  std::vector<int32_t> tokens;
  ByteSpan rest;

  CodedCells cells(const Record& record) const { return {record.kind, tokens, record.first, rest}; }
};

Result<Payload> read_payload(const SessionReader& reader, const Record& record) {
  Payload payload;
  KVS_ASSIGN(payload.bytes, reader.read(record));
  ByteReader in(payload.bytes);
  KVS_ASSIGN(payload.tokens, get_tokens(in, record.count));
  KVS_ASSIGN(payload.rest, in.take(in.left()));
  return payload;
}

// Where a record begins among the tokens from position `first` on.
ptrdiff_t place_in(size_t first, const Record& record) {
  return static_cast<ptrdiff_t>(record.first) - static_cast<ptrdiff_t>(first);
}

// Calls body(first, n) for so many records at a time as there are threads.
Result<> for_batches(size_t records, const char* what, const Progress& progress,
                     const std::function<Result<>(size_t first, size_t n)>& body) {
  const size_t batch = static_cast<size_t>(thread_count());
  for (size_t first = 0; first < records; first += batch) {
    KVS_TRY(progress.step(what, first, records));
    KVS_TRY(body(first, std::min(batch, records - first)));
  }
  return {};
}

// Encodes a few pieces at a time on all threads and writes them in order.
Result<> write_cells(const CellsToWrite& cells, size_t first, const Coder& coder,
                     SessionWriter& writer, const Progress& progress) {
  const std::vector<Piece> pieces = plan(first, cells.count(), cells.absent(), writer.info());
  return for_batches(pieces.size(), "pack", progress, [&](size_t from, size_t n) -> Result<> {
    std::vector<Bytes> payloads(n);
    KVS_TRY(parallel_try(n, [&](size_t i) -> Result<> {
      KVS_ASSIGN(payloads[i], encode(cells, pieces[from + i], coder));
      return {};
    }));
    for (size_t i = 0; i < n; ++i) {
      KVS_TRY(writer.add(pieces[from + i].kind, pieces[from + i].count, payloads[i]));
    }
    return {};
  });
}

Result<> check_options(const PackOptions& options) {
  const size_t tokens = options.block_tokens.value_or(codec::kBlockTokens);
  if (tokens < 1 || tokens > limits::kBlockTokens) {
    return Error{ErrorKind::usage,
                 fmt::format("blocks of {} tokens; legal: 1 ... {}", tokens, limits::kBlockTokens)};
  }
  for (const auto& [name, number] :
       {std::pair("sinks", options.sinks), std::pair("window", options.window)}) {
    if (number <= limits::kTokens) continue;
    return Error{ErrorKind::usage,
                 fmt::format("{} = {}; legal: 0 ... {}", name, number, limits::kTokens)};
  }
  return {};
}

// Behind the cells, which may be fewer than a state has seen only by mistake.
Result<> write_states(const StatesToStore& states, const Coder& coder, SessionWriter& writer) {
  for (const RecurrentState& state : states.states) {
    KVS_TRY(check_state(state, coder.shape));
    if (state.position > writer.index().tokens()) {
      return Error{ErrorKind::usage, fmt::format("a state behind token {} of {}", state.position,
                                                 writer.index().tokens())};
    }
    KVS_TRY(writer.add(state, states.encoding));
  }
  return {};
}

// Out: an OutputFile or a SessionSink.
template <class Out>
Result<> pack_to(Out out, const KvView& cells, std::span<const int32_t> pending, const Coder& coder,
                 const PackOptions& options, const Progress& progress,
                 const StatesToStore& states) {
  return within_memory([&]() -> Result<> {
    KVS_TRY(coder.check());
    KVS_TRY(check_options(options));
    KVS_TRY(check_cells(cells, coder.shape));
    KVS_TRY(check_rounding(cells, coder.shape, coder.keeps_all()));
    KVS_TRY(check_tokens(pending, coder.shape));
    if (const size_t first = first_position(cells); first != 0) {
      return Error{ErrorKind::usage,
                   fmt::format("a session begins at position 0, not at {}", first)};
    }
    KVS_ASSIGN(SessionWriter writer,
               SessionWriter::create(std::move(out), describe(coder, options)));
    KVS_TRY(write_cells({.old = {}, .more = cells}, 0, coder, writer, progress));
    KVS_TRY(write_states(states, coder, writer));
    return writer.commit(pending);
  });
}

// Where the exact records at the end begin. In a lossless session they are never coded anew.
size_t window_start(const SessionReader& file) {
  const size_t end = file.index().tokens();
  if (file.info().lossless()) return end;
  size_t first = end;
  const auto& records = file.index().records;
  for (auto r = records.rbegin(); r != records.rend() && r->kind == RecordKind::exact; ++r) {
    if (r->first >= file.info().sinks) first = r->first;
  }
  return first;
}

Result<> append(SessionWriter& writer, const Session& session, const KvView& more,
                std::span<const int32_t> pending, const Coder& coder, const Progress& progress,
                const StatesToStore& states) {
  KVS_TRY(check_cells(more, coder.shape));
  KVS_TRY(check_rounding(more, coder.shape, coder.keeps_all()));
  KVS_TRY(check_tokens(pending, coder.shape));
  if (more.count() > 0 && first_position(more) != session.size()) {
    return Error{ErrorKind::usage,
                 fmt::format("cells from position {} cannot follow the {} of {}",
                             first_position(more), session.size(), writer.path())};
  }
  const size_t first = window_start(session.file());
  KVS_ASSIGN(const auto old, session.read(first, session.size() - first, progress));
  KVS_TRY(writer.forget_from(first));
  KVS_TRY(write_cells({old, more}, first, coder, writer, progress));
  writer.forget_state(states.instead_of);
  KVS_TRY(write_states(states, coder, writer));
  return writer.commit(pending);
}

// How many of n cells to make room for before any is read: as many as the bytes of their records
// make likely.
size_t likely_cells(const ModelShape& shape, const std::vector<Record>& records, size_t n) {
  constexpr uint64_t kLikely = 64;  // times that a record grows: codecs that people use stay below
  constexpr uint64_t kHarmless = uint64_t{64} << 20;  // bytes
  uint64_t bytes = 0;
  for (const Record& r : records) bytes += r.length;
  const uint64_t room = std::max(kHarmless, kLikely * bytes);
  return std::min<uint64_t>(n, room / std::max<size_t>(shape.f16_bytes_per_token(), 1));
}

// Makes room for `needed` cells and some more, for `most` at most, layer by layer.
void grow(KvBlock<uint16_t>& all, size_t needed, size_t most) {
  const size_t there = all.count();
  if (needed <= there) return;
  const size_t n = std::min(most, std::max(needed, 4 * there));
  const int32_t first = all.positions.empty() ? 0 : all.positions[0];
  all.tokens.resize(n);
  all.positions.resize(n);
  std::iota(all.positions.begin(), all.positions.end(), first);
  for (Kind kind : {Kind::key, Kind::value}) {
    for (Matrix<uint16_t>& rows : all.of(kind)) {
      Matrix<uint16_t> more(n, rows.cols());
      std::copy(rows.flat().begin(), rows.flat().end(), more.data());
      rows = std::move(more);
    }
  }
}

// Error if a layer with a window has a place for rows that are absent.
Result<> check_place(const KvPlace& to, size_t absent, const ModelShape& shape) {
  for (size_t l = 0; l < shape.layers.size(); ++l) {
    if (shape.layers[l].window == 0) continue;
    if (std::max(to.keys[l].rows, to.values[l].rows) + absent <= to.count) continue;
    return Error{ErrorKind::usage,
                 fmt::format("layer {} has no rows of the first {} tokens, which are wanted",
                             shape.layers[l].layer, absent)};
  }
  return {};
}

// A session that cannot be compacted now, for lack of room or because it grows again, is as good.
void compact_if_worthwhile(const std::string& path) {
  const auto now = SessionReader::open(path);
  if (now.ok() && now->live_bytes() < now->file_bytes() / 2) (void)compact(path).ok();
}

}  // namespace

Result<> pack(const std::string& path, const KvView& cells, std::span<const int32_t> pending,
              const Coder& coder, const PackOptions& options, const Progress& progress,
              const StatesToStore& states) {
  return within_memory([&]() -> Result<> {
    KVS_ASSIGN(OutputFile out, OutputFile::reserve(path, Readers::owner));
    return pack(std::move(out), cells, pending, coder, options, progress, states);
  });
}

Result<> pack(OutputFile out, const KvView& cells, std::span<const int32_t> pending,
              const Coder& coder, const PackOptions& options, const Progress& progress,
              const StatesToStore& states) {
  return pack_to(std::move(out), cells, pending, coder, options, progress, states);
}

Result<> pack(SessionSink out, const KvView& cells, std::span<const int32_t> pending,
              const Coder& coder, const PackOptions& options, const Progress& progress,
              const StatesToStore& states) {
  return pack_to(std::move(out), cells, pending, coder, options, progress, states);
}

Result<> extend(const std::string& path, const KvView& more, std::span<const int32_t> pending,
                const Coder& coder, const Progress& progress, const StatesToStore& states) {
  return within_memory([&]() -> Result<> {
    KVS_ASSIGN(const Session session, Session::open(path, coder));
    KVS_ASSIGN(SessionWriter writer, SessionWriter::continue_at(path, session.file()));
    return extend(std::move(writer), session, more, pending, coder, progress, states);
  });
}

Result<> extend(SessionWriter writer, const Session& session, const KvView& more,
                std::span<const int32_t> pending, const Coder& coder, const Progress& progress,
                const StatesToStore& states) {
  return within_memory([&]() -> Result<> {
    const std::string path = writer.path();
    {
      SessionWriter held = std::move(writer);  // its lock ends here
      KVS_TRY(append(held, session, more, pending, coder, progress, states));
    }
    compact_if_worthwhile(path);
    return {};
  });
}

Result<Session> Session::open(const std::string& path, const Coder& coder) {
  return within_memory([&]() -> Result<Session> {
    KVS_ASSIGN(SessionReader reader, SessionReader::open(path));
    return open(std::move(reader), coder);
  });
}

Result<Session> Session::open(SessionReader reader, const Coder& coder) {
  KVS_TRY(check_session(reader, coder));
  return Session(std::move(reader), coder);
}

Result<RecurrentState> Session::state_at(size_t n) const {
  KVS_ASSIGN(RecurrentState state, reader_.read_state(n));
  if (const auto sound = check_state(state, coder_.shape); !sound.ok()) {
    return Error{sound.error().kind, reader_.name() + ": " + sound.error().message};
  }
  return state;
}

// Those that hold tokens [first, first + n).
Result<std::vector<Record>> Session::records_of(size_t first, size_t n) const {
  if (first > size() || n > size() - first) {
    return Error{ErrorKind::usage,
                 fmt::format("tokens {} ... {} of a session of {}", first, first + n, size())};
  }
  std::vector<Record> wanted;
  for (const Record& r : reader_.index().records) {
    if (r.first < first + n && first < r.first + r.count) wanted.push_back(r);
  }
  return wanted;
}

Result<Session::Outline> Session::outline(size_t first, size_t n) const {
  return within_memory([&]() -> Result<Outline> {
    KVS_ASSIGN(const auto records, records_of(first, n));
    const bool windows = coder_.shape.longest_window() > 0;
    Outline outline;
    for (const Record& r : records) {
      KVS_ASSIGN(const Payload payload, read_payload(reader_, r));
      const size_t from = std::max(first, r.first), end = std::min(first + n, r.first + r.count);
      const auto begin = payload.tokens.begin() - static_cast<ptrdiff_t>(r.first);
      outline.tokens.insert(outline.tokens.end(), begin + static_cast<ptrdiff_t>(from),
                            begin + static_cast<ptrdiff_t>(end));
      if (!windows) continue;
      KVS_ASSIGN(const bool lacks, payload.cells(r).lack_windows(coder_));
      if (lacks) outline.absent = end - first;
    }
    return outline;
  });
}

Result<KvBlock<uint16_t>> Session::read(size_t first, size_t n, const Progress& progress,
                                        const ReadLimits& limits) const {
  struct Part {
    std::vector<int32_t> tokens;
    bool lacks_windows = false;
    std::optional<KvBlock<uint16_t>> apart;  // if there was no room for it
  };
  return within_memory([&]() -> Result<KvBlock<uint16_t>> {
    KVS_ASSIGN(const auto records, records_of(first, n));
    KVS_TRY(limits.check("a session", n, n * coder_.shape.f16_bytes_per_token()));
    KvBlock<uint16_t> all(coder_.shape, Space::cached, first,
                          likely_cells(coder_.shape, records, n));
    const auto read_batch = [&](size_t at, size_t some) -> Result<> {
      std::vector<Part> parts(some);
      const KvPlace to = place_of(all, all.count());
      KVS_TRY(parallel_try(some, [&](size_t i) -> Result<> {
        const Record& r = records[at + i];
        KVS_ASSIGN(Payload payload, read_payload(reader_, r));
        KVS_ASSIGN(parts[i].lacks_windows, payload.cells(r).lack_windows(coder_));
        if (std::min(first + n, r.first + r.count) <= first + to.count) {
          KVS_TRY(payload.cells(r).decode(coder_, place_in(first, r), to));
        } else {
          KVS_ASSIGN(parts[i].apart, payload.cells(r).decode_apart(coder_));
        }
        parts[i].tokens = std::move(payload.tokens);
        return {};
      }));
      for (size_t i = 0; i < some; ++i) {
        const Record& r = records[at + i];
        const size_t from = std::max(first, r.first), end = std::min(first + n, r.first + r.count);
        grow(all, end - first, n);
        if (parts[i].apart) put(all, from - first, *parts[i].apart, from - r.first, end - from);
        std::copy_n(parts[i].tokens.begin() + static_cast<ptrdiff_t>(from - r.first), end - from,
                    all.tokens.begin() + static_cast<ptrdiff_t>(from - first));
        if (parts[i].lacks_windows) all.absent = end - first;
      }
      return {};
    };
    KVS_TRY(for_batches(records.size(), "restore", progress, read_batch));
    return all;
  });
}

Result<> Session::read(size_t first, size_t n, const KvPlace& to, const Progress& progress) const {
  return within_memory([&]() -> Result<> {
    KVS_ASSIGN(const auto records, records_of(first, n));
    return for_batches(records.size(), "restore", progress, [&](size_t at, size_t some) {
      return parallel_try(some, [&](size_t i) -> Result<> {
        const Record& r = records[at + i];
        KVS_ASSIGN(const Payload payload, read_payload(reader_, r));
        KVS_ASSIGN(const bool lacks, payload.cells(r).lack_windows(coder_));
        if (lacks) KVS_TRY(check_place(to, std::min(n, r.first + r.count - first), coder_.shape));
        return payload.cells(r).decode(coder_, place_in(first, r), to);
      });
    });
  });
}

Result<std::vector<int32_t>> read_tokens(const SessionReader& reader) {
  return within_memory([&]() -> Result<std::vector<int32_t>> {
    std::vector<int32_t> all;
    for (const Record& record : reader.index().records) {
      KVS_ASSIGN(const Bytes payload, reader.read(record));
      ByteReader in(payload);
      KVS_ASSIGN(const std::vector<int32_t> tokens, get_tokens(in, record.count));
      all.insert(all.end(), tokens.begin(), tokens.end());
    }
    return all;
  });
}

}  // namespace kvsplice::session
