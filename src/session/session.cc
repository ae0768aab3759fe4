#include "session/session.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/limits.h"
#include "core/memory.h"
#include "core/same_cache.h"
#include "core/threads.h"
#include "session/exact.h"

namespace kvsplice::session {

namespace {

constexpr size_t kBlockTokens = 256;

SessionInfo describe(const Coder& coder, const PackOptions& options) {
  SessionInfo info;
  if (coder.codec != nullptr) {
    info.codec = coder.codec->fingerprint();
    info.pipeline = codec::print(coder.codec->text());
  }
  info.model = coder.shape.fingerprint;
  info.model_name = coder.shape.model_name;
  info.architecture = coder.shape.architecture;
  const size_t reach = coder.codec != nullptr ? coder.codec->reach() : 0;
  info.block_tokens = options.block_tokens.value_or(std::max(kBlockTokens, reach));
  info.sinks = options.sinks;
  info.window = options.window;
  if (coder.codec != nullptr && coder.codec->of_cells()) info.sinks = info.window = 0;
  info.layers = coder.shape.layers;
  for (LayerShape& layer : info.layers) {
    layer.rope = {};
    layer.chunked = false;
  }
  return info;
}

// What a session says of its model; nothing of rotations.
ModelShape shape_of(const SessionInfo& info) {
  ModelShape shape;
  shape.model_name = info.model_name;
  shape.fingerprint = info.model;
  shape.layers = info.layers;
  return shape;
}

Result<> check_session(const SessionReader& reader, const Coder& coder, const std::string& path) {
  KVS_TRY(coder.check());
  const SessionInfo& info = reader.info();
  const SessionInfo wanted = describe(coder, {});
  KVS_TRY(
      same_cache(path + " was made with", shape_of(info), "the model at hand", shape_of(wanted)));
  if (info.lossless() || info.codec == wanted.codec) return {};
  return Error{
      ErrorKind::mismatch,
      fmt::format("{} was packed by codec {} ({}); {}", path, info.codec, info.pipeline,
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

// How cells are cut: sinks, blocks, window.
std::vector<Piece> plan(const Cells& cells, const SessionInfo& info) {
  const size_t first = cells.first, count = cells.count(), end = first + count;
  const size_t sinks = std::clamp(info.sinks, first, end);
  const size_t window = std::max(sinks, end > info.window ? end - info.window : 0);
  const auto middle = info.lossless() ? RecordKind::exact : RecordKind::coded;
  std::vector<Piece> pieces;
  cut_pieces(RecordKind::exact, 0, sinks - first, info.block_tokens, pieces);
  cut_pieces(middle, sinks - first, window - first, info.block_tokens, pieces);
  cut_pieces(RecordKind::exact, window - first, count, info.block_tokens, pieces);
  cut_where_cells_begin(cells.absent, pieces);
  return pieces;
}

Result<Bytes> encode(const Cells& cells, RecordKind kind, const Coder& coder) {
  ByteWriter out;
  put_tokens(cells.tokens, out);
  if (kind == RecordKind::exact) {
    put_exact(cells, coder.shape.layers, out);
  } else {
    const bool exact = coder.codec->of_cells();
    const codec::CacheBlock block =
        exact ? to_cell_block(cells, coder.shape) : to_block(cells, coder.shape);
    KVS_ASSIGN(const Bytes bytes, coder.codec->encode_cells(block, coder.embeddings));
    out.put_bytes(bytes);
  }
  return out.take();
}

Result<Cells> decode(ByteSpan payload, const Record& record, const Coder& coder) {
  ByteReader in(payload);
  KVS_ASSIGN(std::vector<int32_t> tokens, get_tokens(in, record.count));
  if (record.kind == RecordKind::exact) {
    return get_exact(in, record.first, std::move(tokens), coder.shape.layers);
  }
  if (coder.codec == nullptr) {
    return Error{ErrorKind::format, "a coded record in a session without a codec"};
  }
  std::vector<int32_t> positions(record.count);
  for (size_t i = 0; i < positions.size(); ++i) {
    positions[i] = static_cast<int32_t>(record.first + i);
  }
  KVS_ASSIGN(const ByteSpan bytes, in.take(in.left()));
  KVS_ASSIGN(codec::CacheBlock block,
             coder.codec->decode_cells(bytes, tokens, positions, coder.embeddings));
  if (coder.codec->of_cells()) return from_cell_block(block, coder.shape);
  return from_block(std::move(block), coder.shape);
}

// Encodes a few pieces at a time on all threads and writes them in order.
Result<> write_pieces(const Cells& cells, const std::vector<Piece>& pieces, const Coder& coder,
                      SessionWriter& writer, const Progress& progress) {
  const size_t batch = static_cast<size_t>(thread_count());
  for (size_t first = 0; first < pieces.size(); first += batch) {
    KVS_TRY(progress.step("pack", first, pieces.size()));
    const size_t n = std::min(batch, pieces.size() - first);
    std::vector<Bytes> payloads(n);
    KVS_TRY(parallel_try(n, [&](size_t i) -> Result<> {
      const Piece& piece = pieces[first + i];
      KVS_ASSIGN(payloads[i], encode(slice(cells, piece.from, piece.count), piece.kind, coder));
      return {};
    }));
    for (size_t i = 0; i < n; ++i) {
      KVS_TRY(writer.add(pieces[first + i].kind, pieces[first + i].count, payloads[i]));
    }
  }
  return {};
}

Result<> check_options(const PackOptions& options) {
  const size_t tokens = options.block_tokens.value_or(kBlockTokens);
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

// The cells from position `first` on: those of the session, then `more`.
Result<Cells> join(const Session& session, size_t first, const Cells& more, const Coder& coder,
                   const Progress& progress) {
  const size_t old = more.first - first;
  KVS_ASSIGN(const Cells window, session.read(first, old, progress));
  Cells cells = make_cells(coder.shape, first, old + more.count());
  put(cells, 0, window, 0, old);
  put(cells, old, more, 0, more.count());
  return cells;
}

Result<> append(SessionWriter& writer, const Session& session, const Cells& more,
                std::span<const int32_t> pending, const Coder& coder, const Progress& progress) {
  KVS_TRY(check_cells(more, coder.shape));
  KVS_TRY(check_tokens(pending, coder.shape));
  if (more.first != session.size()) {
    return Error{ErrorKind::usage, fmt::format("cells from position {} cannot follow the {} of {}",
                                               more.first, session.size(), writer.path())};
  }
  const size_t first = window_start(session.file());
  KVS_ASSIGN(const Cells cells, join(session, first, more, coder, progress));
  KVS_TRY(writer.forget_from(first));
  KVS_TRY(write_pieces(cells, plan(cells, writer.info()), coder, writer, progress));
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

// Makes room for `needed` cells and some more, for `most` at most.
void grow(Cells& all, const ModelShape& shape, size_t needed, size_t most) {
  const size_t there = all.count();
  if (needed <= there) return;
  Cells more = make_cells(shape, all.first, std::min(most, std::max(needed, 4 * there)));
  put(more, 0, all, 0, there);
  all = std::move(more);
}

// A session that cannot be compacted now, for lack of room or because it grows again, is as good.
void compact_if_worthwhile(const std::string& path) {
  const auto now = SessionReader::open(path);
  if (now.ok() && now->live_bytes() < now->file_bytes() / 2) (void)compact(path).ok();
}

}  // namespace

Result<> Coder::check() const {
  if (codec == nullptr) return {};
  KVS_TRY(same_cache("the codec was fitted for", codec->shape(), "the model at hand", shape));
  if (codec->needs_embeddings() && embeddings == nullptr) {
    return Error{ErrorKind::usage, "this codec reads token embeddings: name the model (-m)"};
  }
  return {};
}

Result<> pack(const std::string& path, const Cells& cells, std::span<const int32_t> pending,
              const Coder& coder, const PackOptions& options, const Progress& progress) {
  return within_memory([&]() -> Result<> {
    KVS_ASSIGN(OutputFile out, OutputFile::reserve(path, Readers::owner));
    return pack(std::move(out), cells, pending, coder, options, progress);
  });
}

Result<> pack(OutputFile out, const Cells& cells, std::span<const int32_t> pending,
              const Coder& coder, const PackOptions& options, const Progress& progress) {
  return within_memory([&]() -> Result<> {
    KVS_TRY(coder.check());
    KVS_TRY(check_options(options));
    KVS_TRY(check_cells(cells, coder.shape));
    KVS_TRY(check_tokens(pending, coder.shape));
    if (cells.first != 0) {
      return Error{ErrorKind::usage,
                   fmt::format("a session begins at position 0, not at {}", cells.first)};
    }
    KVS_ASSIGN(SessionWriter writer,
               SessionWriter::create(std::move(out), describe(coder, options)));
    KVS_TRY(write_pieces(cells, plan(cells, writer.info()), coder, writer, progress));
    return writer.commit(pending);
  });
}

Result<> extend(const std::string& path, const Cells& more, std::span<const int32_t> pending,
                const Coder& coder, const Progress& progress) {
  return within_memory([&]() -> Result<> {
    KVS_ASSIGN(const Session session, Session::open(path, coder));
    KVS_ASSIGN(SessionWriter writer, SessionWriter::continue_at(path, session.file()));
    return extend(std::move(writer), session, more, pending, coder, progress);
  });
}

Result<> extend(SessionWriter writer, const Session& session, const Cells& more,
                std::span<const int32_t> pending, const Coder& coder, const Progress& progress) {
  return within_memory([&]() -> Result<> {
    const std::string path = writer.path();
    {
      SessionWriter held = std::move(writer);  // its lock ends here
      KVS_TRY(append(held, session, more, pending, coder, progress));
    }
    compact_if_worthwhile(path);
    return {};
  });
}

Result<Session> Session::open(const std::string& path, const Coder& coder) {
  return within_memory([&]() -> Result<Session> {
    KVS_ASSIGN(SessionReader reader, SessionReader::open(path));
    KVS_TRY(check_session(reader, coder, path));
    return Session(std::move(reader), coder);
  });
}

Result<Cells> Session::read(size_t first, size_t n, const Progress& progress,
                            const ReadLimits& limits) const {
  return within_memory([&]() -> Result<Cells> {
    if (first > size() || n > size() - first) {
      return Error{ErrorKind::usage,
                   fmt::format("tokens {} ... {} of a session of {}", first, first + n, size())};
    }
    KVS_TRY(limits.check("a session", n, n * coder_.shape.f16_bytes_per_token()));
    std::vector<Record> wanted;
    for (const Record& r : reader_.index().records) {
      if (r.first < first + n && first < r.first + r.count) wanted.push_back(r);
    }
    return read_records(wanted, first, n, progress);
  });
}

Result<Cells> Session::read_records(const std::vector<Record>& records, size_t first, size_t n,
                                    const Progress& progress) const {
  Cells all = make_cells(coder_.shape, first, likely_cells(coder_.shape, records, n));
  const size_t batch = static_cast<size_t>(thread_count());
  for (size_t at = 0; at < records.size(); at += batch) {
    KVS_TRY(progress.step("restore", at, records.size()));
    const size_t some = std::min(batch, records.size() - at);
    std::vector<Cells> parts(some);
    KVS_TRY(parallel_try(some, [&](size_t i) -> Result<> {
      KVS_ASSIGN(const Bytes payload, reader_.read(records[at + i]));
      KVS_ASSIGN(parts[i], decode(payload, records[at + i], coder_));
      return {};
    }));
    for (size_t i = 0; i < some; ++i) {
      const Record& r = records[at + i];
      const size_t from = std::max(first, r.first), end = std::min(first + n, r.first + r.count);
      grow(all, coder_.shape, end - first, n);
      put(all, from - first, parts[i], from - r.first, end - from);
    }
  }
  return all;
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
