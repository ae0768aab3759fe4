// Between llama-server's slot files and the store: makes a slot file of the longest prefix that the
// store has, and takes from a slot file what the store has not.
#pragma once

#include <string>

#include "host/state_target.h"
#include "store/bank.h"

namespace kvsplice::serve {

class CellBank : public store::Bank {
 public:
  using Bank::Bank;
  using Bank::keep;

  // Writes a slot file of these tokens, which the match covers, and returns its bytes. Errors: as
  // read(), a full disk.
  Result<size_t> write_slot(const store::Match& match, std::span<const int32_t> tokens,
                            const host::StateTarget& target, const std::string& path) const;
  // What a slot file holds. Of fewer tokens than `fewest` nothing is kept.
  Result<Kept> keep(std::string_view tenant, const std::string& path, size_t prompt,
                    size_t fewest) const;
};

}  // namespace kvsplice::serve
