// Cells of one kind in a store: of one model, coded by one codec, computed with the same settings.
// Whoever opens a bank of the same four (the store among them) finds what others have kept in it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "session/records.h"
#include "store/cells.h"
#include "store/lines.h"
#include "store/store.h"

namespace kvsplice::store {

class Bank {
 public:
  // coder: without a codec cells are kept without loss. settings: settings_of() the cache that
  // cells come from. What the coder is of must outlive the bank, but for its codec, if that is
  // given here too.
  Bank(Store& store, session::Coder coder, std::string settings,
       std::shared_ptr<const codec::Codec> codec = {});

  size_t block_tokens() const { return cells_of_.block_tokens; }
  const session::Coder& coder() const { return coder_; }
  Store& store() const { return store_; }

  Hash root_of(std::string_view tenant) const;
  // The longest prefix of the tokens that the tenant has cells of; remote_until: see Store::find.
  Result<Match> find(std::string_view tenant, std::span<const int32_t> tokens,
                     std::optional<TimePoint> remote_until = {}) const;
  // Cells of the first to.count tokens, which the match covers, to their place: f16, keys turned by
  // their positions, by layer [to.count x KV heads * dim]. Objects are decoded in parallel. Errors:
  // one that is gone or damaged (the store has forgotten it then) or is of other tokens. Some rows
  // may have been written then.
  Result<> read(const Match& match, std::span<const int32_t> tokens, const KvPlace& to) const;

  struct Kept {
    size_t stored = 0;                         // first tokens that the store has cells of now
    size_t objects = 0, bytes = 0, coded = 0;  // new ones; tokens that had to be coded
    std::vector<int32_t> tokens;               // all that were to be kept
  };
  // Cells of the positions 0, 1, ..., of which only those are coded that are not there. prompt: so
  // many of the tokens are the client's; the model wrote those behind them. Errors: usage for cells
  // that are not of this model's shape; numeric for what is not finite; unsupported for models with
  // sliding windows; io if the store has no room. What was kept until then stays.
  Result<Kept> keep(std::string_view tenant, const KvView& cells, size_t prompt) const;
  // What another bank keeps without loss; returns how many tokens are kept here then. The other's
  // objects stay.
  Result<size_t> take_over(const Line& line, const Bank& other, std::string_view tenant) const;

 private:
  // Cells of so many tokens from a position on, good until the next call.
  using CellsAt = std::function<Result<KvView>(size_t first, size_t count)>;
  Result<Kept> keep_all(std::string_view tenant, std::span<const int32_t> tokens, size_t prompt,
                        const CellsAt& cells_at) const;
  // head: all but the name, which it gets, and the length.
  Result<> keep_object(ObjectHead& head, std::span<const int32_t> tokens, const CellsAt& cells_at,
                       Kept& kept) const;

  Store& store_;
  std::shared_ptr<const codec::Codec> codec_;
  session::Coder coder_;
  CellsOf cells_of_;
};

}  // namespace kvsplice::store
