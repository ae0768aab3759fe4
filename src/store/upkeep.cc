// What is done now and then: old objects and damaged ones go, and whole stores travel.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/errors.h"
#include "core/memory.h"
#include "store/archive.h"
#include "store/store_impl.h"

namespace kvsplice::store {

namespace {

// Parents before children.
void sort_from_the_root(std::vector<Entry>& entries) {
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.head.first < b.head.first; });
}

// Those whose line leads to their root. `entries` are sorted from the root.
std::set<Hash> reachable(const std::vector<Entry>& entries) {
  std::set<Hash> names;
  for (const Entry& e : entries) {
    if (e.head.first == 0 || names.contains(e.head.parent)) names.insert(e.head.own);
  }
  return names;
}

}  // namespace

// --- collecting ----------------------------------------------------------------------------------

// Of a program that was killed before it told the index, or put there by other means; and the
// reverse.
Result<> Store::Impl::take_up_unknown(const Progress& progress) {
  KVS_ASSIGN(const auto names, files.list());
  KVS_ASSIGN(const auto entries, with_index([](Index& i) { return i.all(); }));
  std::set<Hash> known;
  for (const Entry& e : entries) known.insert(e.head.own);
  for (size_t i = 0; i < names.size(); ++i) {
    KVS_TRY(progress.step("looking at files", i, names.size()));
    if (known.erase(names[i]) > 0) continue;
    const auto head = files.head(names[i]);
    if (!head.ok()) continue;
    const Entry entry = entry_of(*head, std::min(seconds_since_1970(), head->head.made));
    KVS_TRY(with_index([&](Index& index) { return index.add(entry); }));
  }
  for (const Hash& own : known) {
    if (files.has(own)) continue;
    KVS_TRY(with_index([&](Index& index) { return index.remove(own); }));
  }
  return {};
}

// From the leaves on: what stays keeps its ancestors.
Result<> Store::Impl::drop_lost_and_old(Dropped& dropped) {
  KVS_ASSIGN(auto entries, with_index([](Index& i) { return i.all(); }));
  sort_from_the_root(entries);
  const std::set<Hash> sound = reachable(entries);
  const uint64_t now = seconds_since_1970();
  const uint64_t oldest = limits.seconds > 0 ? now - std::min(now, limits.seconds) : 0;
  std::set<Hash> kept;  // as parents
  for (auto e = entries.rbegin(); e != entries.rend(); ++e) {
    const bool wanted = sound.contains(e->head.own) && e->used >= oldest;
    if (wanted || e->pinned || kept.contains(e->head.own)) {
      kept.insert(e->head.parent);
    } else {
      KVS_TRY(remove(*e, dropped));
    }
  }
  return {};
}

Result<Store::Dropped> Store::collect(const Progress& progress) {
  return within_memory([&]() -> Result<Dropped> {
    Dropped dropped;
    KVS_TRY(impl_->take_up_unknown(progress));
    KVS_TRY(impl_->drop_lost_and_old(dropped));
    KVS_TRY(impl_->cut(nullptr, dropped));
    return dropped;
  });
}

Result<Store::Dropped> Store::drop(const std::function<bool(const Entry&)>& which) {
  return within_memory([&]() -> Result<Dropped> {
    KVS_TRY(impl_->take_up_unknown({}));
    KVS_ASSIGN(auto all, entries());
    sort_from_the_root(all);
    std::set<Hash> names;
    std::vector<const Entry*> unwanted;
    for (const Entry& e : all) {
      if (!names.contains(e.head.parent) && !which(e)) continue;
      names.insert(e.head.own);
      unwanted.push_back(&e);
    }
    Dropped dropped;
    for (auto e = unwanted.rbegin(); e != unwanted.rend(); ++e) {
      KVS_TRY(impl_->remove(**e, dropped));
    }
    return dropped;
  });
}

// --- verifying -----------------------------------------------------------------------------------

Result<Store::Verified> Store::verify(bool repair, const Progress& progress) const {
  return within_memory([&]() -> Result<Verified> {
    KVS_TRY(impl_->take_up_unknown(progress));
    KVS_ASSIGN(const auto names, impl_->files.list());
    Verified verified;
    for (size_t i = 0; i < names.size(); ++i) {
      KVS_TRY(progress.step("opening objects", i, names.size()));
      const auto opened = impl_->files.read(names[i], impl_->key);
      if (opened.ok()) {
        ++verified.sound;
      } else if (impl_->files.has(names[i])) {  // another program may have dropped it
        verified.damaged.push_back(opened.error().message);
        if (repair) KVS_TRY(impl_->forget_if_lost(names[i], opened.error()));
      }
    }
    return verified;
  });
}

// --- other stores --------------------------------------------------------------------------------

namespace {

// From the root on, so that who takes them up meets parents first.
std::vector<Hash> with_ancestors(std::vector<Entry> entries,
                                 const std::function<bool(const Entry&)>& which) {
  sort_from_the_root(entries);
  std::set<Hash> wanted;
  std::vector<Hash> names;
  for (auto e = entries.rbegin(); e != entries.rend(); ++e) {
    if (which && !which(*e) && !wanted.contains(e->head.own)) continue;
    wanted.insert(e->head.parent);
    names.push_back(e->head.own);
  }
  std::reverse(names.begin(), names.end());
  return names;
}

// All that can be said of an archive before any of it is taken.
Result<> check_archive(const ArchiveReader& archive, const Key& key, const Progress& progress) {
  for (size_t i = 0; i < archive.size(); ++i) {
    KVS_TRY(progress.step("looking at objects", i, archive.size()));
    KVS_ASSIGN(const Bytes front, archive.read(i, kHeadBytes));
    KVS_ASSIGN(const ObjectHead head, read_head(front));
    KVS_ASSIGN(const Bytes start, archive.read(i, bytes_to_tokens(head)));
    KVS_TRY(open_tokens(start, key));
  }
  return {};
}

}  // namespace

Result<uint64_t> Store::export_to(const std::string& path,
                                  const std::function<bool(const Entry&)>& which,
                                  const Progress& progress) const {
  return within_memory([&]() -> Result<uint64_t> {
    KVS_ASSIGN(OutputFile output, OutputFile::reserve(path, Readers::owner));
    KVS_ASSIGN(auto all, entries());
    const std::vector<Hash> names = with_ancestors(std::move(all), which);
    KVS_ASSIGN(auto archive, ArchiveWriter::begin(std::move(output), key().fingerprint()));
    for (size_t i = 0; i < names.size(); ++i) {
      KVS_TRY(progress.step("writing objects", i, names.size()));
      const auto sealed = impl_->files.sealed(names[i]);
      if (sealed.ok()) {
        KVS_TRY(archive.add(*sealed));
      } else {
        KVS_TRY(impl_->forget_if_lost(names[i], sealed.error()));
      }
    }
    return archive.finish();
  });
}

Result<uint64_t> Store::import_from(const std::string& path, const Progress& progress) {
  return within_memory([&]() -> Result<uint64_t> {
    KVS_ASSIGN(const auto archive, ArchiveReader::open(path));
    if (archive.key() != key().fingerprint()) {
      return Error{ErrorKind::mismatch,
                   fmt::format("{} is of a store with another key ({}; this one's is {})", path,
                               archive.key(), key().fingerprint())};
    }
    if (const auto sound = check_archive(archive, key(), progress); !sound.ok()) {
      return within(path, sound.error());
    }
    uint64_t taken = 0;
    for (size_t i = 0; i < archive.size(); ++i) {
      KVS_TRY(progress.step("taking up objects", i, archive.size()));
      KVS_ASSIGN(const Bytes sealed, archive.read(i));
      const auto object = store::open(sealed, key());
      if (!object.ok()) return within(path, object.error());
      if (has(object->head.own)) continue;
      KVS_TRY(impl_->add(object->head, sealed));
      ++taken;
    }
    return taken;
  });
}

}  // namespace kvsplice::store
