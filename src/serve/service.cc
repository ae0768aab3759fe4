#include "serve/service.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <filesystem>

#include "core/stopwatch.h"
#include "gguf/model_file.h"
#include "serve/cell_settings.h"
#include "serve/low_priority.h"
#include "serve/passage.h"

namespace kvsplice::serve {

namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr milliseconds kGlance{100};
constexpr milliseconds kShortestSleep{900};  // llama-server counts seconds
constexpr std::chrono::seconds kMayBeAway{60};
constexpr size_t kAsGood = 64;      // tokens that a hot file may have fewer than the store
constexpr size_t kMostWaiting = 4;  // slot files that wait to be taken into the store
constexpr const char* kSharedMemory = "/dev/shm";  // files there take no way over a disk

Clock::duration ticks_of(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

double now() { return static_cast<double>(std::time(nullptr)); }

Result<TemporaryFolder> private_folder() {
  std::error_code failed;
  const bool shared = fs::is_directory(kSharedMemory, failed) && ::access(kSharedMemory, W_OK) == 0;
  return TemporaryFolder::create("serve", shared ? fs::path(kSharedMemory) : fs::path());
}

Result<> check_slots_folder(const std::string& folder) {
  std::error_code failed;
  if (!fs::is_directory(folder, failed)) {
    return Error{ErrorKind::usage, fmt::format("--slots-dir {}: there is no such folder", folder)};
  }
  if (::access(folder.c_str(), R_OK | W_OK | X_OK) == 0) return {};
  return Error{ErrorKind::usage, fmt::format("--slots-dir {}: may not be written to", folder)};
}

// Of a server that others have started; where its files cannot be seen its cells may tell.
Result<> check_model(const ServerFacts& facts, const std::string& ours, const ModelShape& shape) {
  std::error_code failed;
  if (fs::equivalent(facts.model_path, ours, failed) || failed) return {};
  const auto theirs = gguf::fingerprint_of_model(facts.model_path);
  if (!theirs.ok() || *theirs == shape.fingerprint) return {};
  return Error{ErrorKind::unsupported,
               fmt::format("the server has another model than -m: {}", facts.model_path)};
}

}  // namespace

Result<std::unique_ptr<Service>> Service::create(Options options, session::Coder coder) {
  KVS_TRY(coder.check());
  if (!options.upstream.empty()) {
    KVS_TRY(Address::parse(options.upstream));
    KVS_TRY(check_slots_folder(options.slots_folder));
  }
  std::unique_ptr<store::Remote> remote;
  if (!options.remote.empty()) {
    KVS_ASSIGN(remote, store::open_remote(options.remote));
  }
  KVS_ASSIGN(store::Store store,
             store::Store::open(options.store, options.limits, std::move(remote)));
  KVS_ASSIGN(TemporaryFolder own, private_folder());
  return std::unique_ptr<Service>(
      new Service(std::move(options), std::move(coder), std::move(store), std::move(own)));
}

Service::Service(Options options, session::Coder coder, store::Store store, TemporaryFolder own)
    : options_(std::move(options)),
      coder_(std::move(coder)),
      store_(std::move(store)),
      own_(std::move(own)),
      hot_(options_.hot_bytes),
      begun_(now()) {
  const bool attached = !options_.upstream.empty();
  const auto& told = options_.arguments;
  may_sleep_ = attached || std::count(told.begin(), told.end(), "--sleep-idle-seconds") > 0;
  slots_folder_ = attached ? options_.slots_folder : own_.file("slots");
  Address address;
  if (attached) {
    address = Address::parse(options_.upstream).value();
  } else {
    address.socket = own_.file("server.sock");
    std::error_code ignored;
    fs::create_directory(slots_folder_, ignored);
  }
  upstream_ = std::make_unique<Upstream>(std::move(address), options_.api_key);
}

// --- the server ----------------------------------------------------------------------------------

std::vector<std::string> Service::server_arguments() const {
  std::vector<std::string> arguments = {
      options_.program,   "-m",         options_.model, "--host", upstream_->address().socket,
      "--slot-save-path", slots_folder_};
  // Where we restore nothing it may do what it can by itself.
  if (why_never(coder_.shape).empty()) {
    arguments.insert(arguments.end(), {"--cache-ram", "0", "--no-context-shift"});
  }
  arguments.insert(arguments.end(), options_.arguments.begin(), options_.arguments.end());
  return arguments;
}

// Of what a server that was killed has left: it does not take a socket that is there.
void Service::clear_own_folder() {
  std::error_code ignored;
  fs::remove(upstream_->address().socket, ignored);
}

Result<> Service::start(std::function<void()> give_up) {
  give_up_ = std::move(give_up);
  if (options_.upstream.empty()) {
    process_ = std::make_unique<ServerProcess>(
        server_arguments(), ServerProcess::Events{[this] { clear_own_folder(); },
                                                  [](int start) {
                                                    log_line("server_started", {{"start", start}});
                                                  },
                                                  [this](const ServerProcess::End& end) {
                                                    lost_server(end.how);
                                                    return is_worth_another_start(end);
                                                  }});
    KVS_TRY(process_->start());
  }
  keeper_ = std::thread([this] { work(); });
  learner_ = std::thread([this] { learn(); });
  return {};
}

void Service::lost_server(const std::string& how) {
  log_line("server_lost", {{"how", how}});
  set_state(State::starting, "llama-server " + how);
  {
    const std::lock_guard lock(mutex_);
    keys_.clear();
  }
  if (slots_) slots_->forget();
}

bool Service::is_worth_another_start(const ServerProcess::End& end) {
  {
    const std::lock_guard lock(mutex_);
    if (was_there_ || !end.by_itself) return true;
    outcome_ = Error{ErrorKind::io,
                     fmt::format("llama-server {} before it was ready: its last lines above say "
                                 "why",
                                 end.how)};
  }
  give_up_();
  return false;
}

Result<> Service::outcome() const {
  const std::lock_guard lock(mutex_);
  return outcome_;
}

// Cells mean something else from now on; those in slots have been saved before.
void Service::look_again(const std::string& why) {
  log_line("look_again", {{"why", why}});
  if (slots_) slots_->forget();
  set_state(State::starting, why);
}

void Service::set_state(State state, const std::string& why) {
  const std::lock_guard lock(mutex_);
  state_ = state;
  why_ = why;
  changed_.notify_all();
}

bool Service::is_ready() const {
  const std::lock_guard lock(mutex_);
  return state_ == State::ready;
}

// Whoever has waited for a minute hears from the server itself what is wrong.
void Service::admit(const std::function<bool()>& gone) {
  const auto patience = Clock::now() + kMayBeAway;
  std::unique_lock lock(mutex_);
  const auto is_away = [&] { return state_ == State::testing || state_ == State::starting; };
  while (is_away() && !ending_ && Clock::now() < patience) {
    changed_.wait_for(lock, kGlance);
    lock.unlock();
    const bool in_vain = gone();
    lock.lock();
    if (in_vain) break;
  }
  ++under_way_;
}

void Service::dismiss() {
  const std::lock_guard lock(mutex_);
  --under_way_;
  last_used_ = Clock::now();
  changed_.notify_all();
}

// A server that was told to (--sleep-idle-seconds) drops its model, and all slots, when nobody asks
// for a while. The first question for tokens would wake it.
void Service::doubt_if_asleep() {
  if (!may_sleep_) return;
  {
    const std::lock_guard lock(mutex_);
    if (Clock::now() - last_used_ < kShortestSleep) return;
  }
  const auto facts = upstream_->facts();
  if (facts.ok() && facts->is_asleep) slots_->doubt();
}

Result<> Service::wait_until_idle() {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kMayBeAway, [&] { return under_way_ == 0 || ending_; });
  if (under_way_ == 0 && !ending_) return {};
  return Error{ErrorKind::io, "requests are under way that nobody has seen the slots of"};
}

// Error unsupported if this server will never be of use; others may pass.
Result<> Service::make_ready() {
  KVS_TRY(upstream_->ready());
  KVS_ASSIGN(const ServerFacts facts, upstream_->facts());
  {
    const std::lock_guard lock(mutex_);
    facts_ = facts;
    was_there_ = true;
  }
  if (facts.slots < 1) return Error{ErrorKind::unsupported, "the server has no slots"};
  KVS_TRY(check_model(facts, options_.model, coder_.shape));
  set_state(State::testing, "the self-test is under way");
  KVS_TRY(wait_until_idle());
  KVS_ASSIGN(SlotTrial test, try_slots(*upstream_, facts.slots, slots_folder_, coder_.shape));
  KVS_ASSIGN(const std::string adapters, adapter_settings(*upstream_));
  for (const std::string& more : {cell_settings(options_.arguments, environment()), adapters}) {
    if (!more.empty()) test.settings += "; " + more;
  }
  const KvBlock<uint16_t> cells = std::move(test.cells);  // the trial is asked for by every request
  test.cells = {};
  const bool is_another = !banks().now || trial().settings != test.settings;
  {
    const std::lock_guard lock(mutex_);
    trial_ = test;
  }
  if (!slots_) {
    slots_ = std::make_unique<Slots>(facts.slots);
    slots_->forget();  // what a server that runs already has been asked by others
  }
  if (is_another) open_banks();
  KVS_TRY(check_cells(exact_bank(), cells));
  set_state(State::ready, "");
  log_line("ready", {{"build", facts.build}, {"slots", facts.slots}, {"cells", test.settings}});
  return {};
}

// --- between slots and the store -----------------------------------------------------------------

std::string Service::new_file() { return fmt::format("kvs-{}-{}", ::getpid(), ++files_made_); }

// Hot files are found by it: the tenant, and what the cells were computed by.
std::string Service::hot_key(const std::string& tenant) const {
  return trial().settings + '\n' + tenant;
}

std::string Service::path_of(const std::string& file) const {
  return (fs::path(slots_folder_) / file).string();
}

// One that was taken once is taken until the server starts anew.
bool Service::admits(const std::string& key) {
  if (options_.api_key.empty() || key == options_.api_key) return true;
  {
    const std::lock_guard lock(mutex_);
    if (keys_.contains(key)) return true;
  }
  if (!upstream_->takes_key(key)) return false;
  const std::lock_guard lock(mutex_);
  keys_.insert(key);
  return true;
}

// Nothing is learnt from more of them, nor from those whose names are a burden: salts are free.
void Service::note_tenant(const std::string& tenant) {
  constexpr size_t kMost = 1024, kLongest = 1024;
  const std::lock_guard lock(mutex_);
  if (tenants_.size() < kMost && tenant.size() <= kLongest) tenants_.insert(tenant);
}

SlotTrial Service::trial() const {
  const std::lock_guard lock(mutex_);
  return trial_;
}

Service::Banks Service::banks() const {
  const std::lock_guard lock(mutex_);
  return banks_;
}

std::optional<store::TimePoint> Service::remote_until(size_t tokens, size_t there) const {
  const auto seconds = gate_.seconds_for_remote(tokens, there);
  if (!seconds) return std::nullopt;
  return Clock::now() + ticks_of(*seconds);
}

// A hot file is as good as the store if it has nearly as much, and faster.
Result<Service::Source> Service::best_source(const std::string& tenant,
                                             std::span<const int32_t> tokens, size_t there) {
  Source source;
  if (const auto hot = hot_.find(hot_key(tenant), tokens, coder_.shape.longest_window() > 0)) {
    source.tokens = store::shared_length(hot->tokens(), tokens);
    source.hot = hot;
    if (source.tokens + kAsGood >= tokens.size()) return source;
  }
  const Banks banks = this->banks();
  const auto look = [&](const std::shared_ptr<const CellBank>& bank, auto... until) -> Result<> {
    KVS_ASSIGN(store::Match match, bank->find(tenant, tokens, until...));
    const size_t least = source.tokens + (source.hot ? kAsGood : 0);
    if (match.tokens > least) source = {match.tokens, nullptr, bank, std::move(match)};
    return {};
  };
  KVS_TRY(look(banks.now, remote_until(tokens.size(), std::max(there, source.tokens))));
  if (banks.exact && source.tokens < tokens.size()) (void)look(banks.exact).ok();
  return source;
}

Result<> Service::put_into(Slots::Lease& lease, const std::string& file, size_t least) {
  KVS_ASSIGN(const auto restored, upstream_->restore(lease.id(), file));
  if (restored.tokens >= least) return {};
  return Error{ErrorKind::mismatch,
               fmt::format("llama-server restored {} of {} tokens", restored.tokens, least)};
}

Result<> Service::fill(Slots::Lease& lease, const Source& source, std::span<const int32_t> tokens) {
  if (source.hot) {
    const fs::path path = source.hot->path();
    return put_into(lease, path.filename().string(), source.tokens);
  }
  const std::string file = new_file();
  const auto filled = [&]() -> Result<> {
    KVS_TRY(source.bank->write_slot(source.match, tokens, trial().target, path_of(file)));
    return put_into(lease, file, tokens.size());
  }();
  std::error_code ignored;
  fs::remove(path_of(file), ignored);
  return filled;
}

Service::Restored Service::restore(Slots::Lease& lease, SlotContent& content,
                                   std::span<const int32_t> tokens) {
  const Stopwatch watch;
  Restored done;
  const size_t there = content.tokens.size();
  const auto source = best_source(content.tenant, tokens, there);
  const double found = watch.seconds();
  if (!source.ok()) return {0, 0, source.error().message};
  const size_t n = std::min(source->tokens, tokens.size());
  if (n <= there) return {0, 0, n == 0 ? "nothing of it is stored" : "the slot holds as much"};
  // What needs no decoding is faster than any evaluation.
  const bool is_worth = source->hot ? n >= there + Gate::kFewest : gate_.is_worth(n, there);
  if (!is_worth) return {0, 0, "evaluating is as fast"};
  const auto moved = fill(lease, *source, tokens.first(n));
  done.seconds = watch.seconds();
  record_.change([&](Counts& counts) {
    counts.restores += moved.ok();
    counts.restores_hot += moved.ok() && source->hot;
    counts.restores_failed += !moved.ok();
    if (!moved.ok()) counts.last_failure = moved.error().message;
    counts.restore_seconds += done.seconds;
  });
  if (!moved.ok()) {
    // The server empties a slot that it cannot restore.
    content.tokens.clear();
    done.why_not = moved.error().message;
    log_line("restore_failed", {{"slot", lease.id()}, {"why", done.why_not}});
    return done;
  }
  if (source->bank) {
    store_.touch(source->match);
    gate_.restored(n, done.seconds - found);
  }
  done.tokens = n;
  return done;
}

bool Service::write_out(Slots::Lease& lease, SlotContent& content) {
  content.dirty = false;
  const std::string file = new_file();
  {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(10),
                      [&] { return waiting_.size() < kMostWaiting; });
    if (waiting_.size() >= kMostWaiting) return false;
  }
  const auto saved = upstream_->save(lease.id(), file);
  record_.change([&](Counts& counts) {
    counts.saves += saved.ok();
    counts.saves_failed += !saved.ok();
    if (!saved.ok()) counts.last_failure = saved.error().message;
    if (saved.ok()) counts.save_seconds += saved->seconds;
  });
  if (!saved.ok()) {
    log_line("save_failed", {{"slot", lease.id()}, {"why", saved.error().message}});
    return false;
  }
  const std::string key = hot_key(content.tenant);
  const std::lock_guard lock(mutex_);
  waiting_.push_back({content.tenant, path_of(file), content.tokens.size(), banks_.now, key});
  changed_.notify_all();
  return true;
}

void Service::give_away(Slots::Lease& lease) {
  SlotContent content = lease.content();
  if (content.dirty) write_out(lease, content);
  if (!content.is_empty()) (void)upstream_->erase(lease.id()).ok();
  lease.put({.tenant = {}, .tokens = {}, .poisoned = true, .in_use = true});
}

void Service::keep(const SlotFile& file) {
  take_into_store(file);
  const std::lock_guard lock(mutex_);
  keeping_ -= 1;
}

void Service::take_into_store(const SlotFile& file) {
  const Stopwatch watch;
  auto kept = file.bank->keep(file.tenant, file.path, file.prompt, options_.fewest_tokens);
  hot_.add(file.path, file.hot_key, kept.ok() ? std::move(kept->tokens) : std::vector<int32_t>());
  if (!kept.ok()) {
    record_.change([&](Counts& counts) {
      counts.saves_failed += 1;
      counts.last_failure = kept.error().message;
    });
    log_line("keep_failed", {{"why", kept.error().message}});
    return;
  }
  record_.change([&](Counts& counts) {
    counts.stored_objects += kept->objects;
    counts.stored_bytes += kept->bytes;
    counts.stored_tokens += kept->coded;
    counts.code_seconds += watch.seconds();
  });
  log_line("kept", {{"tokens", kept->stored},
                    {"coded", kept->coded},
                    {"objects", kept->objects},
                    {"bytes", kept->bytes},
                    {"seconds", watch.seconds()}});
}

// --- the keeper ----------------------------------------------------------------------------------

std::optional<Service::SlotFile> Service::next_file() {
  const std::lock_guard lock(mutex_);
  if (waiting_.empty()) return std::nullopt;
  SlotFile file = std::move(waiting_.front());
  waiting_.pop_front();
  keeping_ += 1;
  changed_.notify_all();
  return file;
}

bool Service::save_slot(Clock::time_point rested_since) {
  auto lease = slots_->take_dirty(rested_since);
  if (!lease) return false;
  SlotContent content = lease->content();
  write_out(*lease, content);
  lease->put(std::move(content));
  return true;
}

void Service::work() {
  // What a store that was killed has not told its index; what is too old or too much.
  if (const auto collected = store_.collect(); !collected.ok()) {
    log_line("collect_failed", {{"why", collected.error().message}});
  }
  const AtLowPriority here;
  const double idle = options_.save == SaveWhen::always ? 0 : options_.save_after;
  for (;;) {
    State state;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, kGlance, [&] { return ending_ || !waiting_.empty(); });
      if (ending_) return;
      state = state_;
    }
    if (state == State::testing || state == State::passing) continue;
    // Files first: who asks once the server is ready finds what lay in its slots before.
    if (const auto file = next_file()) {
      keep(*file);
    } else if (state == State::starting) {
      const auto made = make_ready();
      if (!made.ok()) not_ready(made.error());
    } else {
      save_slot(Clock::now() - ticks_of(idle));
    }
  }
}

// A server that is not there, or still loads its model (it refuses everything then), is asked
// again; one that has refused a part of the test is left alone.
void Service::not_ready(const Error& why) {
  bool tested = false;
  {
    const std::lock_guard lock(mutex_);
    tested = state_ == State::testing;
  }
  if (why.kind == ErrorKind::io || (why.kind == ErrorKind::mismatch && !tested)) {
    return set_state(State::starting, why.message);
  }
  set_state(State::passing, why.message);
  log_line("passing", {{"why", why.message}});
}

std::unique_ptr<Service::Passage> Service::begin(OutgoingRequest request, const std::string& path,
                                                 const std::function<bool()>& gone) {
  if (api_of(request.method, path) != Api::none) admit(gone);
  return std::make_unique<Passage>(*this, std::move(request), path);
}

Service::~Service() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  if (keeper_.joinable()) keeper_.join();
  if (learner_.joinable()) learner_.join();
  if (is_ready()) {
    const auto all = Clock::now() + std::chrono::hours(1);
    do {
      while (const auto file = next_file()) keep(*file);
    } while (save_slot(all));
  }
}

}  // namespace kvsplice::serve
