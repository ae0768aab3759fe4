// Between llama-server's slot files and the store: finds the longest prefix that the store has,
// makes a slot file of it, and takes from a slot file what the store has not.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "host/state_target.h"
#include "session/records.h"
#include "store/cells.h"
#include "store/store.h"

namespace kvsplice::serve {

class CellBank {
 public:
  // settings: of the server that computes cells, as far as they change cells. coder and what it is
  // of must outlive the bank.
  CellBank(store::Store& store, session::Coder coder, std::string settings);

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
    std::vector<int32_t> tokens;               // what the file holds
    size_t stored = 0;                         // of them the store has cells now
    size_t objects = 0, bytes = 0, coded = 0;  // new ones; tokens that had to be coded
  };
  // prompt: so many of the tokens are the client's; the model wrote those behind them. Of fewer
  // tokens than `fewest` nothing is kept.
  Result<Kept> keep(std::string_view tenant, const std::string& path, size_t prompt,
                    size_t fewest) const;

 private:
  // head: all but what the cells say.
  Result<store::Hash> keep_object(store::ObjectHead head, const KvView& cells, Kept& kept) const;

  store::Store& store_;
  session::Coder coder_;
  store::CellsOf cells_of_;
};

}  // namespace kvsplice::serve
