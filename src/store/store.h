// A store of cells on disk: objects/<two digits>/<name>.kvo, `key`, `index.sqlite` and tmp/.
// Several programs and threads may use one at once. Losing an object costs a prefill and nothing
// else.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/progress.h"
#include "store/chain.h"
#include "store/index.h"
#include "store/object.h"
#include "store/remote/depot.h"

namespace kvsplice::store {

struct Limits {
  uint64_t bytes = uint64_t{20} << 30;  // of all objects
  uint64_t seconds = 0;                 // since an object was used; 0: for ever
};

// The longest prefix of some tokens that a store has cells of.
struct Match {
  std::vector<Hash> blocks;    // whole ones, from position 0 on
  std::optional<Hash> behind;  // a child of the last of them, of which a part is shared
  size_t tokens = 0;           // in all
};

class Store {
 public:
  // Makes the folder (mode 0700) if it is not there. Errors: no folder or not writable, a key that
  // is none; mismatch if there are objects, but no key. What a killed program left in tmp/ is
  // removed; a damaged index is made anew.
  // Behind it may stand a remote, which others share who have the same key.
  static Result<Store> open(const std::string& folder, const Limits& limits = {},
                            std::unique_ptr<Remote> remote = nullptr);
  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  ~Store();

  const Key& key() const;
  const std::string& folder() const;

  // Compared token by token behind the last whole block. An object whose file is gone or damaged
  // ends the match, and is forgotten. What is not here is asked of the remote, if there is one,
  // until `remote_until` at the latest, and is here then.
  Result<Match> find(const Hash& root, std::span<const int32_t> tokens, size_t block_tokens,
                     std::optional<TimePoint> remote_until = {}) const;
  bool has(const Hash& own) const;
  // Opened and checked. Errors: io if it is not there; format or mismatch: it is forgotten, too.
  Result<Object> get(const Hash& own) const;
  void touch(const Match& match);
  // Sealed, written, renamed. Tails beside it that it begins with go, and the store is cut to its
  // limits, this object last; later it goes to the remote. Nothing happens if it is there. Error
  // io: full disk and the like, or no room within the limits beside its ancestors and what is
  // pinned; nothing else is harmed.
  Result<> put(const Object& object);

  Result<Totals> totals() const;
  Result<Totals> totals_of(const Hash& root) const;
  std::optional<DepotView> remote() const;  // nothing if there is none
  Result<std::vector<Entry>> entries() const;
  Result<> pin(const Hash& own, bool pinned);

  struct Dropped {
    uint64_t objects = 0, bytes = 0;
  };
  // Takes up files that the index does not know; drops objects whose ancestors are not all there
  // and those that were used too long ago; cuts to the limit: leaves first, answers before prompts,
  // least recently used first.
  Result<Dropped> collect(const Progress& progress = {});
  // With all that lies behind them.
  Result<Dropped> drop(const std::function<bool(const Entry&)>& which);

  struct Verified {
    uint64_t sound = 0;
    std::vector<std::string> damaged;  // files, each with what is wrong
  };
  // Opens every object; damaged ones are removed if `repair`. The index learns what it did not
  // know.
  Result<Verified> verify(bool repair, const Progress& progress) const;

  // One file of all objects (or of those that `which` wants, with their ancestors), sealed as they
  // are, and the reverse; import refuses objects of another key before it takes any.
  Result<uint64_t> export_to(const std::string& path,
                             const std::function<bool(const Entry&)>& which,
                             const Progress& progress) const;
  Result<uint64_t> import_from(const std::string& path, const Progress& progress);

 private:
  struct Impl;
  explicit Store(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvsplice::store
