#include "store/cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "session/cells.h"
#include "session/lossless_record.h"

namespace kvsplice::store {

namespace {

using session::RecordKind;

// Exact, coded, exact: the lengths of the three.
std::array<size_t, 3> parts_of(const KvView& cells, bool tail, const session::Coder& coder,
                               const Exact& exact) {
  const size_t n = cells.count(), first = session::first_position(cells);
  if (coder.codec == nullptr) return {n, 0, 0};
  if (coder.codec->of_cells()) return {0, n, 0};
  const size_t sinks = std::min(n, exact.sinks - std::min(exact.sinks, first));
  const size_t window = tail ? std::min(n - sinks, exact.window) : 0;
  return {sinks, n - sinks - window, window};
}

}  // namespace

Result<Bytes> write_cells(const KvView& cells, bool tail, const session::Coder& coder,
                          const Exact& exact) {
  ByteWriter out;
  const auto parts = parts_of(cells, tail, coder, exact);
  size_t at = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i] == 0) continue;
    const RecordKind kind = i == 1 ? RecordKind::coded : RecordKind::exact;
    KVS_ASSIGN(const Bytes bytes, session::encode_cells(cells.slice(at, parts[i]), kind, coder));
    out.put(static_cast<uint8_t>(kind));
    out.put_varint(parts[i]);
    out.put_varint(bytes.size());
    out.put_bytes(bytes);
    at += parts[i];
  }
  return out.take();
}

Result<StoredCells> StoredCells::parse(ByteSpan bytes, std::span<const int32_t> tokens,
                                       size_t first) {
  StoredCells cells;
  ByteReader in(bytes);
  size_t at = 0;
  while (in.left() > 0) {
    KVS_ASSIGN(const uint8_t kind, in.get<uint8_t>());
    KVS_ASSIGN(const uint64_t count, in.get_varint());
    KVS_ASSIGN(const uint64_t length, in.get_varint());
    if (kind != uint8_t(RecordKind::coded) && kind != uint8_t(RecordKind::exact)) {
      return Error{ErrorKind::format, fmt::format("cells of kind {}; legal: 1, 2", kind)};
    }
    if (count < 1 || count > tokens.size() - at || length > in.left()) {
      return Error{ErrorKind::format, fmt::format("{} cells in {} bytes behind {} of {}", count,
                                                  length, at, tokens.size())};
    }
    KVS_ASSIGN(const ByteSpan record, in.take(length));
    cells.records_.push_back({RecordKind(kind), tokens.subspan(at, count), first + at, record});
    at += count;
  }
  if (at != tokens.size()) {
    return Error{ErrorKind::format, fmt::format("cells of {} of {} tokens", at, tokens.size())};
  }
  return cells;
}

namespace {

ptrdiff_t place_of(const session::CodedCells& record, size_t from) {
  return static_cast<ptrdiff_t>(record.first) - static_cast<ptrdiff_t>(from);
}

}  // namespace

Result<> StoredCells::decode(const session::Coder& coder, const KvPlace& to, size_t from) const {
  for (const session::CodedCells& record : records_) {
    if (record.first >= from + to.count) break;
    KVS_TRY(record.decode(coder, place_of(record, from), to));
  }
  return {};
}

Result<> StoredCells::decode_exact(const session::Coder& coder, Kind kind, size_t layer,
                                   const KvPlace& to, size_t from) const {
  for (const session::CodedCells& record : records_) {
    if (record.kind != RecordKind::exact) {
      return Error{ErrorKind::unsupported, "cells that are coded cannot be read layer by layer"};
    }
    ByteReader in(record.bytes);
    KVS_ASSIGN(const auto rows,
               session::LosslessRecord::parse(in, record.tokens.size(), coder.shape.layers));
    KVS_TRY(rows.decode(kind, layer, place_of(record, from), to));
  }
  return {};
}

Result<> decode_object(const Object& object, const session::Coder& coder, const KvPlace& to,
                       size_t from) {
  KVS_ASSIGN(const StoredCells cells,
             StoredCells::parse(object.cells, object.tokens, object.head.first));
  return cells.decode(coder, to, from);
}

}  // namespace kvsplice::store
