#include "store/store.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>

#include "core/errors.h"
#include "core/memory.h"
#include "store/store_impl.h"

namespace kvsplice::store {

namespace {

namespace fs = std::filesystem;

// Behind the last block that matches; more would be read for nothing.
constexpr size_t kMostChildren = 64;

Result<Descriptor> open_or_create(const std::string& folder, const std::string& name) {
  os::Folder in;
  if (!in.open(folder)) return system_error("open", folder);
  for (;;) {
    Descriptor file(in.open_file(name));
    if (file) return file;
    if (errno != ENOENT) break;
    file = Descriptor(in.create_file(name, 0600));
    if (file) return file;
    if (errno != EEXIST) break;
  }
  return system_error("open", (fs::path(folder) / name).string());
}

// For what one program does while others wait: opening a store and making its index.
Result<Descriptor> take_turn(const std::string& folder) {
  KVS_ASSIGN(Descriptor file, open_or_create(folder, "lock"));
  constexpr int kMostTries = 6000;
  for (int i = 0; i < kMostTries; ++i) {
    if (os::try_lock(file.get()) != Lock::busy) return file;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return Error{ErrorKind::io,
               folder + ": another program has been opening this store for a minute"};
}

Result<> make_folders(const fs::path& folder) {
  std::error_code failed;
  const fs::path own = folder.has_filename() ? folder : folder.parent_path();  // as in "store/"
  if (own.has_parent_path()) fs::create_directories(own.parent_path(), failed);
  return make_folder(own.string());  // says what is wrong
}

// Without their key objects are lost, and should not be forgotten one by one.
Result<> check_key_is_there(const std::string& folder) {
  std::error_code none;
  const fs::path root(folder);
  if (os::state_at(root / "key") || !fs::exists(root / "objects", none)) return {};
  if (fs::is_empty(root / "objects", none)) return {};
  return Error{ErrorKind::mismatch,
               fmt::format("{} has objects, but not the key they were sealed by: put it back, or "
                           "remove them",
                           folder)};
}

Hash last_block(const Match& match, const Query& query) {
  return match.blocks.empty() ? query.root : match.blocks.back();
}

}  // namespace

// --- the index -----------------------------------------------------------------------------------

// Of all files that could be objects; used when they were made, as far as anyone knows.
Result<Index> Store::Impl::make_index() const {
  KVS_ASSIGN(const std::vector<Hash> names, files.list());
  const uint64_t now = seconds_since_1970();
  std::vector<Entry> entries;
  for (const Hash& own : names) {
    const auto head = files.head(own);
    if (head.ok()) entries.push_back(entry_of(*head, std::min(now, head->head.made)));
  }
  return Index::make(index_path(), entries);
}

// In one's turn only.
Result<Index> Store::Impl::open_index() const {
  auto index = Index::open(index_path());
  if (index.ok() || index.error().kind != ErrorKind::format) return index;
  return make_index();
}

// Another program may have made it anew.
Result<std::shared_ptr<Index>> Store::Impl::index() {
  const std::lock_guard lock(turn);
  if (opened && opened->is_in_place()) return opened;
  KVS_ASSIGN(const Descriptor held, take_turn(folder));
  KVS_ASSIGN(Index now, open_index());
  opened = std::make_shared<Index>(std::move(now));
  return opened;
}

Result<std::shared_ptr<Index>> Store::Impl::renew_index(const std::shared_ptr<Index>& damaged) {
  {
    const std::lock_guard lock(turn);
    KVS_ASSIGN(const Descriptor held, take_turn(folder));
    if (opened == damaged && damaged->is_in_place()) {
      KVS_ASSIGN(Index made, make_index());
      opened = std::make_shared<Index>(std::move(made));
    }
  }
  return index();
}

// --- opening -------------------------------------------------------------------------------------

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;

Result<Store> Store::open(const std::string& folder, const Limits& limits,
                          std::unique_ptr<Remote> remote) {
  return within_memory([&]() -> Result<Store> {
    KVS_TRY(make_folders(folder));
    std::unique_ptr<Impl> impl;
    {
      KVS_ASSIGN(const Descriptor held, take_turn(folder));
      KVS_TRY(check_key_is_there(folder));
      KVS_ASSIGN(Key key, Key::open(folder));
      KVS_ASSIGN(ObjectFiles files, ObjectFiles::open(folder));
      impl = std::make_unique<Impl>(folder, limits, std::move(key), std::move(files));
    }
    KVS_TRY(impl->index());
    if (remote) impl->depot = std::make_unique<Depot>(std::move(remote), impl->key);
    return Store(std::move(impl));
  });
}

const Key& Store::key() const { return impl_->key; }
const std::string& Store::folder() const { return impl_->folder; }

// --- finding -------------------------------------------------------------------------------------

// What the system refuses for now may be there later; all else will not be sound again.
Result<> Store::Impl::forget_if_lost(const Hash& own, const Error& error) {
  if (error.kind == ErrorKind::memory) return error;
  if (error.kind == ErrorKind::io && files.has(own)) return error;
  (void)files.remove(own).ok();
  return with_index([&](Index& i) { return i.remove(own); });
}

// Nothing if there is no sound object of that name.
Result<std::optional<std::vector<int32_t>>> Store::Impl::tokens_of(const Hash& own) {
  using Tokens = std::optional<std::vector<int32_t>>;
  KVS_ASSIGN(const auto entry, with_index([&](Index& i) { return i.find(own); }));
  if (!entry) return Tokens();
  auto tokens = files.tokens(own, key);
  if (tokens.ok()) return Tokens(std::move(*tokens));
  KVS_TRY(forget_if_lost(own, tokens.error()));
  return Tokens();
}

Result<> Store::Impl::match_blocks(const Query& query, Match& match) {
  while (query.tokens.size() - match.tokens >= query.block_tokens) {
    const auto next = query.tokens.subspan(match.tokens, query.block_tokens);
    const Hash own = child_of(last_block(match, query), next, false);
    KVS_ASSIGN(const auto sound, tokens_of(own));
    if (!sound) break;
    match.blocks.push_back(own);
    match.tokens += query.block_tokens;
  }
  return {};
}

Result<> Store::Impl::match_behind(const Query& query, Match& match) {
  const Hash last = last_block(match, query);
  const auto rest = query.tokens.subspan(match.tokens);
  KVS_ASSIGN(const auto children,
             with_index([&](Index& i) { return i.children(last, kMostChildren); }));
  size_t longest = 0;
  for (const Entry& child : children) {
    if (longest == rest.size()) break;
    KVS_ASSIGN(const auto its, tokens_of(child.head.own));
    const size_t shared = its ? shared_length(*its, rest) : 0;
    if (shared <= longest) continue;
    longest = shared;
    match.behind = child.head.own;
  }
  match.tokens += longest;
  return {};
}

// --- from the remote -----------------------------------------------------------------------------

// False if there is no room for it, or the disk refuses: then it is as if the remote had it not.
bool Store::Impl::take_up(const Object& object, ByteSpan sealed) {
  const Hash& own = object.head.own;
  return add(object.head, sealed).ok() && drop_what_is_within(object).ok() && files.has(own);
}

void Store::Impl::fetch_blocks(Depot::Visit& visit, const Query& query, Match& match) {
  const auto rest = query.tokens.subspan(match.tokens);
  const auto names = chain_of(last_block(match, query), rest, query.block_tokens);
  visit.bring(names, [&](const Object& object, ByteSpan sealed) {
    if (!take_up(object, sealed)) return false;
    match.blocks.push_back(object.head.own);
    match.tokens += query.block_tokens;
    return true;
  });
}

// The child that shares most, if it shares more than those that are here.
void Store::Impl::fetch_behind(Depot::Visit& visit, const Query& query, Match& match) {
  const size_t in_blocks = match.blocks.size() * query.block_tokens;
  const auto rest = query.tokens.subspan(in_blocks);
  size_t longest = match.tokens - in_blocks;
  if (longest == rest.size()) return;
  const Hash last = last_block(match, query);
  std::optional<Hash> wanted;
  for (const Child& child : visit.children(last)) {
    const size_t shared = shared_length(child.tokens, rest);
    if (shared <= longest) continue;
    longest = shared;
    wanted = child.name(last);
  }
  if (!wanted) return;
  visit.bring({&*wanted, 1}, [&](const Object& object, ByteSpan sealed) {
    if (!take_up(object, sealed)) return false;
    match.behind = object.head.own;
    match.tokens = in_blocks + longest;
    return true;
  });
}

Result<Match> Store::find(const Hash& root, std::span<const int32_t> tokens, size_t block_tokens,
                          std::optional<TimePoint> remote_until) const {
  if (block_tokens == 0) return usage_error("blocks of 0 tokens; legal: at least 1");
  const Query query{root, tokens, block_tokens};
  return within_memory([&]() -> Result<Match> {
    Match match;
    KVS_TRY(impl_->match_blocks(query, match));
    std::optional<Depot::Visit> visit;
    if (impl_->depot && remote_until) visit.emplace(*impl_->depot, *remote_until);
    if (visit) impl_->fetch_blocks(*visit, query, match);
    KVS_TRY(impl_->match_behind(query, match));
    if (visit) impl_->fetch_behind(*visit, query, match);
    return match;
  });
}

bool Store::has(const Hash& own) const {
  const auto entry = impl_->with_index([&](Index& i) { return i.find(own); });
  return entry.ok() && entry->has_value() && impl_->files.has(own);
}

Result<Object> Store::get(const Hash& own) const {
  return within_memory([&]() -> Result<Object> {
    auto object = impl_->files.read(own, impl_->key);
    if (!object.ok()) (void)impl_->forget_if_lost(own, object.error()).ok();
    return object;
  });
}

void Store::touch(const Match& match) {
  if (match.tokens == 0) return;
  const Hash& last = match.behind ? *match.behind : match.blocks.back();
  // Whatever fails, the objects are as good as before.
  (void)impl_->with_index([&](Index& i) { return i.touch(last, seconds_since_1970()); }).ok();
}

// --- adding and dropping -------------------------------------------------------------------------

Result<> Store::Impl::remove(const Entry& entry, Dropped& dropped) {
  KVS_TRY(files.remove(entry.head.own));
  KVS_TRY(with_index([&](Index& i) { return i.remove(entry.head.own); }));
  ++dropped.objects;
  dropped.bytes += entry.bytes;
  return {};
}

// Leaf by leaf: a parent may be the next. `last`, if there is one, goes when there is no other.
Result<> Store::Impl::cut(const Hash* last, Dropped& dropped) {
  KVS_ASSIGN(const Totals totals, with_index([](Index& i) { return i.totals(); }));
  const uint64_t before = dropped.bytes;
  while (totals.bytes - std::min(totals.bytes, dropped.bytes - before) > limits.bytes) {
    KVS_ASSIGN(const auto leaves, with_index([](Index& i) { return i.leaves(2); }));
    if (leaves.empty()) return {};  // the rest is pinned
    const bool spare = last && leaves[0].head.own == *last && leaves.size() > 1;
    KVS_TRY(remove(leaves[spare ? 1 : 0], dropped));
  }
  return {};
}

Result<> Store::Impl::add(const ObjectHead& head, ByteSpan sealed) {
  if (sealed.size() > limits.bytes) {
    return Error{ErrorKind::io, fmt::format("{}: an object of {} bytes, where {} are the limit",
                                            folder, sealed.size(), limits.bytes)};
  }
  KVS_TRY(files.write(head.own, sealed));
  const uint64_t now = seconds_since_1970();
  KVS_TRY(with_index([&](Index& i) -> Result<> {
    KVS_TRY(i.add({head, sealed.size(), now, false}));
    return i.touch(head.own, now);
  }));
  Dropped dropped;
  return cut(&head.own, dropped);
}

// Tails that the object begins with, beside it: what a conversation was before it grew.
Result<> Store::Impl::drop_what_is_within(const Object& object) {
  KVS_ASSIGN(const auto beside,
             with_index([&](Index& i) { return i.children(object.head.parent, kMostChildren); }));
  for (const Entry& entry : beside) {
    const ObjectHead& head = entry.head;
    if (head.kind != ObjectKind::tail || head.own == object.head.own || entry.pinned) continue;
    if (head.count > object.tokens.size()) continue;
    KVS_ASSIGN(const auto its, tokens_of(head.own));
    if (!its || shared_length(*its, object.tokens) < its->size()) continue;
    Dropped dropped;
    KVS_TRY(remove(entry, dropped));
  }
  return {};
}

Result<> Store::put(const Object& object) {
  if (has(object.head.own)) return {};
  return within_memory([&]() -> Result<> {
    KVS_ASSIGN(Bytes sealed, seal(object, impl_->key));
    KVS_TRY(impl_->add(object.head, sealed));
    KVS_TRY(impl_->drop_what_is_within(object));
    if (impl_->depot) impl_->depot->put(object, std::move(sealed));
    if (has(object.head.own)) return {};
    return Error{ErrorKind::io,
                 fmt::format("{}: no room within {} bytes beside what it lies behind "
                             "and what is pinned",
                             folder(), impl_->limits.bytes)};
  });
}

Result<Totals> Store::totals() const {
  return impl_->with_index([](Index& i) { return i.totals(); });
}

std::optional<DepotView> Store::remote() const {
  if (!impl_->depot) return std::nullopt;
  return impl_->depot->view();
}

Result<Totals> Store::totals_of(const Hash& root) const {
  return impl_->with_index([&](Index& i) { return i.totals_of(root); });
}

Result<std::vector<Entry>> Store::entries() const {
  return impl_->with_index([](Index& i) { return i.all(); });
}

Result<> Store::pin(const Hash& own, bool pinned) {
  return impl_->with_index([&](Index& i) { return i.pin(own, pinned); });
}

}  // namespace kvsplice::store
