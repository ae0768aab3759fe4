// What a store is made of; store.cc finds and adds, upkeep.cc looks after what is there.
#pragma once

#include <chrono>
#include <filesystem>
#include <mutex>

#include "store/object_files.h"
#include "store/store.h"

namespace kvsplice::store {

inline uint64_t seconds_since_1970() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(now).count());
}

inline Entry entry_of(const FileHead& file, uint64_t used) {
  return {file.head, file.bytes, used, false};
}

// What is looked for.
struct Query {
  const Hash& root;
  std::span<const int32_t> tokens;
  size_t block_tokens;
};

struct Store::Impl {
  Impl(std::string where, const Limits& most, Key secret, ObjectFiles objects)
      : folder(std::move(where)), limits(most), key(std::move(secret)), files(std::move(objects)) {}

  const std::string folder;
  const Limits limits;
  const Key key;
  const ObjectFiles files;
  std::mutex turn;                // of `opened`
  std::shared_ptr<Index> opened;  // the index
  std::unique_ptr<Depot> depot;   // if there is a remote

  std::string index_path() const {
    return (std::filesystem::path(folder) / "index.sqlite").string();
  }
  Result<Index> make_index() const;
  Result<Index> open_index() const;
  Result<std::shared_ptr<Index>> index();
  Result<std::shared_ptr<Index>> renew_index(const std::shared_ptr<Index>& damaged);
  template <class Use>
  auto with_index(const Use& use) -> decltype(use(std::declval<Index&>()));

  Result<> add(const ObjectHead& head, ByteSpan sealed);
  Result<> forget_if_lost(const Hash& own, const Error& error);
  Result<std::optional<std::vector<int32_t>>> tokens_of(const Hash& own);
  Result<> match_blocks(const Query& query, Match& match);
  Result<> match_behind(const Query& query, Match& match);
  bool take_up(const Object& object, ByteSpan sealed);
  void fetch_blocks(Depot::Visit& visit, const Query& query, Match& match);
  void fetch_behind(Depot::Visit& visit, const Query& query, Match& match);
  Result<> remove(const Entry& entry, Dropped& dropped);
  Result<> drop_what_is_within(const Object& object);
  Result<> cut(const Hash* last, Dropped& dropped);
  Result<> take_up_unknown(const Progress& progress);
  Result<> drop_lost_and_old(Dropped& dropped);
};

// Damage that shows only in use is mended, once; so is that of another program's mending.
template <class Use>
auto Store::Impl::with_index(const Use& use) -> decltype(use(std::declval<Index&>())) {
  KVS_ASSIGN(std::shared_ptr<Index> now, index());
  auto done = use(*now);
  if (done.ok()) return done;
  if (done.error().kind == ErrorKind::format) {
    KVS_ASSIGN(now, renew_index(now));
  } else if (!now->is_in_place()) {
    KVS_ASSIGN(now, index());
  } else {
    return done;
  }
  return use(*now);
}

}  // namespace kvsplice::store
