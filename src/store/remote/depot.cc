#include "store/remote/depot.h"

#include <algorithm>
#include <numeric>

#include "core/memory.h"

namespace kvsplice::store {

namespace {

constexpr uint64_t kMostObject = uint64_t{128} << 20;  // bytes; larger ones stay at home
constexpr uint64_t kMostQueued = uint64_t{256} << 20;
constexpr uint64_t kMostAtOnce = uint64_t{16} << 20;  // bytes that are asked for together ...
constexpr size_t kMostNamesAtOnce = 16;               // ... and objects
constexpr int kMostTries = 10;
constexpr std::chrono::seconds kPutTime{60}, kPutStall{3}, kLastMoment{5};

Patience patience_to_put() {
  return Patience(steady_now() + kPutTime, std::chrono::duration_cast<Milliseconds>(kPutStall));
}

// For questions with short answers: what somebody dead or silent costs.
Patience patience_to_ask(TimePoint until) {
  return Patience(std::min(until, steady_now() + Patience::kStall));
}

// How many of the first objects are asked for together: some, or a large one.
size_t together(std::span<const uint64_t> sizes) {
  size_t n = 0;
  for (uint64_t bytes = 0; n < std::min(sizes.size(), kMostNamesAtOnce); ++n) {
    bytes += sizes[n];
    if (n > 0 && bytes > kMostAtOnce) break;
  }
  return n;
}

// What is there and not too large, from the first on.
std::vector<uint64_t> usable(std::vector<uint64_t> sizes) {
  size_t n = 0;
  while (n < sizes.size() && sizes[n] > 0 && sizes[n] <= kMostObject) ++n;
  sizes.resize(n);
  return sizes;
}

}  // namespace

Depot::Depot(std::unique_ptr<Remote> remote, const Key& key, Now now)
    : remote_(std::move(remote)), key_(key), breaker_(std::move(now)), queue_(kMostQueued) {}

Depot::~Depot() { queue_.drain(std::chrono::duration_cast<Milliseconds>(kLastMoment)); }

template <class Change>
void Depot::change(const Change& change) {
  const std::lock_guard lock(mutex_);
  change(counts_);
}

void Depot::count_failure(const Error& error) {
  const std::lock_guard lock(mutex_);
  ++counts_.failures;
  last_error_ = error.message;
}

// It is dropped, so that somebody may put a sound one there.
void Depot::count_spoilt(const Hash& name, const Error& error) {
  constexpr uint64_t kBytes = 256;
  count_failure({error.kind, "a value that is not what its name says: " + error.message});
  if (error.kind == ErrorKind::memory) return;
  change([](DepotCounts& counts) { ++counts.spoilt; });
  queue_.push(kBytes, [this, name] {
    Patience patience = patience_to_put();
    (void)remote_->drop(name, patience).ok();
    return true;
  });
}

// --- getting -------------------------------------------------------------------------------------

// Whether the call was made and went well.
template <class Call>
bool Depot::Visit::ask(const Call& call) {
  if (!asked_ && !ended_) {
    asked_ = depot_.breaker_.allows();
    ended_ = !asked_;
  }
  if (ended_) return false;
  const Result<> done = within_memory(call);
  if (done.ok()) return true;
  depot_.count_failure(done.error());
  failed_ = ended_ = true;
  return false;
}

bool Depot::Visit::open_one(const Hash& name, const Bytes& sealed, const Take& take) {
  auto object = store::open(sealed, depot_.key_);
  if (object.ok() && object->head.own != name) {
    object = Error{ErrorKind::mismatch, "an object of another name"};
  }
  if (!object.ok()) {
    depot_.count_spoilt(name, object.error());
    failed_ = ended_ = true;
    return false;
  }
  if (!take(*object, sealed)) return false;
  ++brought_;
  depot_.change([&](DepotCounts& counts) {
    counts.got_objects += 1;
    counts.got_bytes += sealed.size();
  });
  return true;
}

void Depot::Visit::bring(std::span<const Hash> names, const Take& take) {
  if (names.empty()) return;
  std::vector<uint64_t> sizes;
  const bool told = ask([&]() -> Result<> {
    Patience patience = patience_to_ask(until_);
    KVS_ASSIGN(sizes, depot_.remote_->sizes(names, patience));
    return {};
  });
  if (!told) return;
  sizes.resize(names.size());
  sizes = usable(std::move(sizes));
  Patience patience(until_);
  patience.expect(std::accumulate(sizes.begin(), sizes.end(), uint64_t{0}));
  for (size_t at = 0, n = 0; at < sizes.size() && !ended_; at += n) {
    const auto some = std::span(sizes).subspan(at);
    n = together(some);
    const uint64_t most = *std::max_element(some.begin(), some.begin() + ptrdiff_t(n));
    patience.resume();
    if (patience.has_ended()) return;
    std::vector<Bytes> found;
    (void)ask([&] { return depot_.remote_->get(names.subspan(at, n), most, patience, found); });
    for (size_t i = 0; i < std::min(n, found.size()); ++i) {
      if (found[i].empty() || !open_one(names[at + i], found[i], take)) return;
    }
  }
}

std::vector<Child> Depot::Visit::children(const Hash& parent) {
  std::vector<Child> children;
  (void)ask([&]() -> Result<> {
    Patience patience = patience_to_ask(until_);
    KVS_ASSIGN(children, depot_.read_entry(parent, patience));
    return {};
  });
  return children;
}

// Who brings something is worth asking again, however it ended.
Depot::Visit::~Visit() {
  if (!asked_) return;
  if (failed_ && brought_ == 0) {
    depot_.breaker_.failed();
    return;
  }
  depot_.breaker_.succeeded();
  depot_.change([&](DepotCounts& counts) { ++(brought_ > 0 ? counts.hits : counts.misses); });
}

// An entry that cannot be opened counts as none; whoever writes it next mends it.
Result<std::vector<Child>> Depot::read_entry(const Hash& parent, Patience& patience) {
  const Hash name = entry_name(parent);
  std::vector<Bytes> found;
  KVS_TRY(remote_->get({&name, 1}, kMostEntryBytes, patience, found));
  if (found.empty() || found[0].empty()) return std::vector<Child>();
  auto children = open_children(found[0], parent, key_);
  if (children.ok()) return children;
  count_spoilt(name, children.error());
  return std::vector<Child>();
}

// --- putting -------------------------------------------------------------------------------------

void Depot::put(const Object& object, Bytes sealed) {
  if (sealed.size() > kMostObject) {
    return change([](DepotCounts& counts) { ++counts.refused; });
  }
  const uint64_t bytes = sealed.size() + object.tokens.size() * sizeof object.tokens[0];
  const Child child = {object.head.kind, object.tokens};
  const auto shared = std::make_shared<const Bytes>(std::move(sealed));
  queue_.push(bytes, [this, parent = object.head.parent, child, shared, tries = 0]() mutable {
    return send(parent, child, *shared, tries);
  });
}

// First the object, then the entry that names it. False: not now.
bool Depot::send(const Hash& parent, const Child& child, const Bytes& sealed, int& tries) {
  if (!breaker_.allows()) return false;
  const Hash own = child.name(parent);
  const Result<> done = within_memory([&]() -> Result<> {
    Patience patience = patience_to_put();
    KVS_ASSIGN(const std::vector<uint64_t> there, remote_->sizes({&own, 1}, patience));
    if (there.empty() || there[0] != sealed.size()) KVS_TRY(remote_->put(own, sealed, patience));
    return tell_parent(parent, child, patience);
  });
  if (done.ok()) {
    breaker_.succeeded();
    change([&](DepotCounts& counts) {
      counts.put_objects += 1;
      counts.put_bytes += sealed.size();
    });
    return true;
  }
  if (done.error().kind != ErrorKind::unsupported) {
    breaker_.failed();
    count_failure(done.error());
    if (++tries < kMostTries) return false;  // it may be the object that it cannot bear
  } else {
    breaker_.succeeded();  // it is full, or for reading only: it answers
  }
  const std::lock_guard lock(mutex_);
  ++counts_.refused;
  last_error_ = done.error().message;
  return true;
}

// Of two that do this at once the second wins, and the first one's child is not found by those who
// share a part of it only.
Result<> Depot::tell_parent(const Hash& parent, const Child& child, Patience& patience) {
  KVS_ASSIGN(std::vector<Child> children, read_entry(parent, patience));
  const std::vector<Hash> gone = add_child(children, child, parent);
  KVS_TRY(remote_->put(entry_name(parent), seal_children(children, parent, key_), patience));
  for (const Hash& name : gone) KVS_TRY(remote_->drop(name, patience));
  return {};
}

DepotView Depot::view() const {
  DepotView view;
  view.where = remote_->where();
  view.state = breaker_.state();
  view.seconds_until_next = breaker_.until_next().count();
  const JobQueue::View queue = queue_.view();
  const std::lock_guard lock(mutex_);
  view.counts = counts_;
  view.counts.dropped = queue.dropped;
  view.counts.queued = queue.jobs;
  view.counts.queued_bytes = queue.bytes;
  view.last_error = last_error_;
  return view;
}

}  // namespace kvsplice::store
