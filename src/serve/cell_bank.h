// Between llama-server's slot files and the store: finds the longest prefix that the store has,
// makes a slot file of it, and takes from a slot file what the store has not.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "host/state_target.h"
#include "session/records.h"
#include "store/cells.h"
#include "store/lines.h"
#include "store/store.h"

namespace kvsplice::serve {

// What a match is made of, in order.
std::vector<store::Hash> objects_of(const store::Match& match);

class CellBank {
 public:
  // settings: of the server that computes cells, as far as they change cells. What the coder is of
  // must outlive the bank, but for its codec, if that is given here too.
  CellBank(store::Store& store, session::Coder coder, std::string settings,
           std::shared_ptr<const codec::Codec> codec = {});

  size_t block_tokens() const { return cells_of_.block_tokens; }
  const session::Coder& coder() const { return coder_; }
  store::Store& store() const { return store_; }

  store::Hash root_of(std::string_view tenant) const;
  // remote_until: see Store::find.
  Result<store::Match> find(std::string_view tenant, std::span<const int32_t> tokens,
                            std::optional<store::TimePoint> remote_until = {}) const;

  // Writes a slot file of these tokens, which the match covers, and returns its bytes. Errors: an
  // object that is gone or damaged (the store has forgotten it then), a full disk.
  Result<size_t> write_slot(const store::Match& match, std::span<const int32_t> tokens,
                            const host::StateTarget& target, const std::string& path) const;

  struct Kept {
    size_t stored = 0;                         // first tokens that the store has cells of now
    size_t objects = 0, bytes = 0, coded = 0;  // new ones; tokens that had to be coded
    std::vector<int32_t> tokens;               // all that were there
  };
  // What a slot file holds. prompt: so many of the tokens are the client's; the model wrote those
  // behind them. Of fewer tokens than `fewest` nothing is kept.
  Result<Kept> keep(std::string_view tenant, const std::string& path, size_t prompt,
                    size_t fewest) const;
  Result<Kept> keep_cells(std::string_view tenant, const KvView& cells, size_t prompt) const;
  // What another bank keeps without loss; returns how many tokens are kept here then. The other's
  // objects stay.
  Result<size_t> take_over(const store::Line& line, const CellBank& other,
                           std::string_view tenant) const;

 private:
  // Cells of so many tokens from a position on, good until the next call.
  using CellsAt = std::function<Result<KvView>(size_t first, size_t count)>;
  Result<Kept> keep_all(std::string_view tenant, std::span<const int32_t> tokens, size_t prompt,
                        const CellsAt& cells_at) const;
  // head: all but the name, which it gets, and the length.
  Result<> keep_object(store::ObjectHead& head, std::span<const int32_t> tokens,
                       const CellsAt& cells_at, Kept& kept) const;

  store::Store& store_;
  std::shared_ptr<const codec::Codec> codec_;
  session::Coder coder_;
  store::CellsOf cells_of_;
};

}  // namespace kvsplice::serve
