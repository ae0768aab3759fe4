// f16 cells -> a state that llama.cpp loads into a cache of its own kind.
#pragma once

#include <functional>

#include "host/state_blob.h"
#include "session/cells.h"

namespace kvsplice::host {

// What is to load a state. llama.cpp demands that all of it is as in its own cache.
struct StateTarget {
  StateForm form = StateForm::sequence_file;
  CellType key_type = CellType::f16, value_type = CellType::f16;
  bool values_transposed = false;  // as without flash attention
  StateVersion version = linked_state_version();
  uint32_t streams = 1;           // or one for each sequence of a context that parts them
  std::vector<Turns> turns = {};  // of quantised heads; none: as if nothing is set

  CellType type(Kind kind) const { return kind == Kind::key ? key_type : value_type; }
};

// What has saved a state, and can load one like it. Error if it holds no cells.
Result<StateTarget> target_like(const StateBlob& blob, const ModelShape& shape);

// How many tokens a state lists and how many cells it has. A session file lists one token more than
// it has cells, since llama-completion evaluates the last one anew; llama-server takes a sequence
// file's list for what the cache holds.
struct StateExtent {
  size_t tokens = 0, cells = 0;
};
StateExtent extent_of_state(StateForm form, size_t cells, size_t pending);

// Zeroed memory for at most so many bytes, which outlives what is made in it.
using RoomFor = std::function<Result<uint8_t*>(size_t most)>;

// A state whose rows are still zeros.
class StateFrame {
 public:
  // Of all tokens and pending tokens that can be in it; the first `absent` tokens have no rows in
  // layers with a window. Error if the next token sees any of those. It makes room for itself
  // unless the caller does. Hybrids need the recurrent state behind the last cell.
  static Result<StateFrame> make(std::span<const int32_t> tokens, size_t absent,
                                 std::span<const int32_t> pending, const ModelShape& shape,
                                 const StateTarget& target, const RoomFor& room = {},
                                 const session::RecurrentState* recurrent = nullptr);

  size_t size() const { return size_; }  // bytes
  size_t cells() const { return cells_; }
  // Where rows of the first cells() tokens go; none if they must be coded on their way there.
  std::optional<KvPlace> place();
  // Cells of as many tokens or more.
  void fill(const KvView& cells);
  // Of a frame that has made room for itself.
  Bytes take() {
    bytes_.resize(size_);
    return std::move(bytes_);
  }

 private:
  // Rows of the tokens [first, cells()) of one layer.
  struct Rows {
    Kind kind;
    size_t layer, first;
    RowLayout layout;
    size_t at;  // among the bytes
    bool transposed;
  };
  void plan(const ModelShape& shape, const StateTarget& target, const StateBlob& blob,
            const std::vector<RowsAt>& places);
  RowsPlace place_of(const Rows& rows);
  void fill(const RowsView& from, const Rows& rows);

  Bytes bytes_;               // unless the caller has made room
  uint8_t* begin_ = nullptr;  // does not move with the frame
  size_t size_ = 0;
  size_t cells_ = 0, layers_ = 0;
  std::vector<Rows> rows_;
};

// Of all cells and pending tokens that can be in it. Error if cells that the next token sees are
// absent.
Result<Bytes> to_state(const KvView& cells, std::span<const int32_t> pending,
                       const ModelShape& shape, const StateTarget& target,
                       const session::RecurrentState* recurrent = nullptr);

}  // namespace kvsplice::host
