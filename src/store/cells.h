// The cells of an object of a store: records of session.kvz without their tokens. The first tokens
// of all are exact, and so are the newest of a tail; the others are coded, or exact without a
// codec.
#pragma once

#include <vector>

#include "session/records.h"
#include "store/object.h"

namespace kvsplice::store {

struct Exact {
  size_t sinks = 4;    // first tokens of a sequence
  size_t window = 32;  // newest tokens of a tail
};

// cells: those of an object's tokens, in place, whose positions say where they stand.
Result<Bytes> write_cells(const KvView& cells, bool tail, const session::Coder& coder,
                          const Exact& exact);

// The same, read: hostile. tokens and bytes must outlive it.
class StoredCells {
 public:
  static Result<StoredCells> parse(ByteSpan bytes, std::span<const int32_t> tokens, size_t first);

  // Rows to their place, which begins at that position; those behind its end are dropped.
  Result<> decode(const session::Coder& coder, const KvPlace& to, size_t from = 0) const;
  // One layer's rows of `kind` only, where all are exact: error unsupported if they are coded.
  Result<> decode_exact(const session::Coder& coder, Kind kind, size_t layer, const KvPlace& to,
                        size_t from) const;

 private:
  std::vector<session::CodedCells> records_;
};

// The rows of an object to their place, which begins at that position.
Result<> decode_object(const Object& object, const session::Coder& coder, const KvPlace& to,
                       size_t from = 0);

}  // namespace kvsplice::store
