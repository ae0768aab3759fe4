// How a service comes to a codec by itself.
#include <fmt/format.h>

#include <filesystem>

#include "core/bytes.h"
#include "serve/low_priority.h"
#include "serve/service.h"

namespace kvsplice::serve {

namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

constexpr seconds kPause{2};    // between looks whether there is something to do
constexpr seconds kRested{10};  // so long a slot was left alone before it is borrowed

session::Coder without_codec(session::Coder coder) {
  coder.codec = nullptr;
  return coder;
}

// By the model's name alone, unless its cells are computed in an unusual way.
std::string codec_path(const store::Store& store, const ModelShape& shape,
                       const std::string& settings) {
  const size_t unusual = std::min(settings.find(';'), settings.size());
  const ByteSpan bytes(reinterpret_cast<const uint8_t*>(settings.data()), settings.size());
  std::string name = shape.fingerprint;
  if (unusual < settings.size()) name += '-' + hash128_hex(bytes.subspan(unusual)).substr(0, 8);
  return (fs::path(store.folder()) / "codecs" / (name + ".gguf")).string();
}

Result<> keep_codec(const store::Store& store, const ModelShape& shape, const std::string& settings,
                    const codec::Codec& codec) {
  const std::string path = codec_path(store, shape, settings);
  std::error_code failed;
  fs::create_directories(fs::path(path).parent_path(), failed);
  if (failed) return Error{ErrorKind::io, path + ": " + failed.message()};
  KVS_ASSIGN(OutputFile out, OutputFile::reserve(path, Readers::owner));
  return codec.save(std::move(out));
}

// None, with a line on the error stream, if it is damaged or of another program's version.
std::shared_ptr<const codec::Codec> kept_codec(const store::Store& store,
                                               const session::Coder& coder,
                                               const std::string& settings) {
  const std::string path = codec_path(store, coder.shape, settings);
  std::error_code none;
  if (!fs::exists(path, none)) return {};
  auto codec = codec::Codec::load(path);
  const auto fits = codec.ok() ? session::Coder{coder.shape, &*codec, coder.embeddings}.check()
                               : Result<>(codec.error());
  if (fits.ok()) return std::make_shared<const codec::Codec>(std::move(codec).value());
  log_line("codec_not_used", {{"file", path}, {"why", fits.error().message}});
  return {};
}

}  // namespace

CellBank Service::exact_bank() { return CellBank(store_, without_codec(coder_), trial().settings); }

void Service::open_banks() {
  const std::string settings = trial().settings;
  Banks opened;
  opened.now = opened.exact = std::make_shared<CellBank>(exact_bank());
  const bool learns = coder_.codec == nullptr && options_.learn_after > 0;
  const auto learnt = learns ? kept_codec(store_, coder_, settings) : nullptr;
  if (coder_.codec != nullptr || learnt) {
    opened.now = std::make_shared<CellBank>(store_, coder_, settings, learnt);
  } else {
    opened.exact = nullptr;
  }
  const std::lock_guard lock(mutex_);
  banks_ = opened;
}

Progress Service::until_end(const std::string& what) {
  return {[this, what](const std::string& step, size_t done, size_t all) {
    const std::lock_guard lock(mutex_);
    learning_ = fmt::format("{}: {} {} of {}", what, step, done, all);
    return !ending_;
  }};
}

std::vector<std::string> Service::tenants() const {
  const std::lock_guard lock(mutex_);
  return {tenants_.begin(), tenants_.end()};
}

// Waits for a slot that nobody wants at the moment.
Result<> Service::borrow_slot(const std::function<Result<>(const Laboratory&)>& use) {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      if (ending_) return Error{ErrorKind::usage, "the service is ending"};
    }
    auto lease = is_ready() ? slots_->take_rested(Clock::now() - kRested) : std::nullopt;
    if (!lease) {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, seconds(1), [&] { return ending_; });
      continue;
    }
    SlotContent content = lease->content();
    if (content.dirty) write_out(*lease, content);
    lease->put({.tenant = {}, .tokens = {}, .poisoned = true, .in_use = true});
    const auto done = use({*upstream_, lease->id(), slots_folder_, trial().target});
    if (upstream_->erase(lease->id()).ok()) lease->put({});
    return done;
  }
}

Result<> Service::try_to_learn(const Banks& banks) {
  std::vector<store::Hash> roots;
  for (const std::string& tenant : tenants()) roots.push_back(banks.now->root_of(tenant));
  const Learner learner(store_, roots, without_codec(coder_), {.kld = options_.most_kld});
  KVS_ASSIGN(const size_t tokens, learner.tokens());
  if (tokens < learn_at_) return {};
  learn_at_ = 2 * tokens;  // should it fail, with more to learn from
  log_line("learning", {{"tokens", tokens}});
  const auto borrow = [this](const auto& use) { return borrow_slot(use); };
  KVS_ASSIGN(const Learnt learnt, learner.learn(borrow, until_end("learning")));
  if (take_learnt()) return {};
  KVS_TRY(keep_codec(store_, coder_.shape, trial().settings, *learnt.codec));
  log_line("learnt", {{"codec", codec::print(learnt.codec->text())},
                      {"tokens", learnt.tokens},
                      {"kld", learnt.kld},
                      {"q4_0_kld", learnt.q4_0},
                      {"predictions", learnt.predictions}});
  use_learnt(learnt.codec, fmt::format("learnt from {} tokens: {:.4f} nats a token, q4_0 {:.4f}",
                                       learnt.tokens, learnt.kld, learnt.q4_0));
  return {};
}

void Service::use_learnt(std::shared_ptr<const codec::Codec> codec, const std::string& how) {
  const std::lock_guard lock(mutex_);
  learning_ = how;
  banks_.exact = banks_.now;
  banks_.now = std::make_shared<CellBank>(store_, coder_, trial_.settings, std::move(codec));
}

// Several proxies may use one store. What another of them has learnt is used here, too: it drops
// what was kept without loss, and under two codecs nothing would be shared.
bool Service::take_learnt() {
  const std::string settings = trial().settings;
  std::error_code none;
  const auto written = fs::last_write_time(codec_path(store_, coder_.shape, settings), none);
  if (none || written == codec_seen_) return false;
  codec_seen_ = written;
  auto codec = kept_codec(store_, coder_, settings);
  if (!codec) return false;
  log_line("learnt_by_another", {{"codec", codec::print(codec->text())}});
  use_learnt(std::move(codec), "learnt by another program with this store");
  return true;
}

// What was kept without loss is coded, conversation by conversation, and dropped when it is.
Result<> Service::take_over_exact(const Banks& banks) {
  for (const std::string& tenant : tenants()) {
    if (!taken_over_.insert(tenant).second) continue;
    const store::Hash root = banks.exact->root_of(tenant);
    KVS_ASSIGN(const auto entries, store_.entries());
    const auto lines =
        store::lines_of(entries, [&](const store::Entry& e) { return e.head.root == root; });
    std::set<store::Hash> done;
    for (size_t i = 0; i < lines.size(); ++i) {
      KVS_TRY(until_end("coding what was kept without loss").step("conversation", i, lines.size()));
      KVS_ASSIGN(const size_t kept, banks.now->take_over(lines[i], *banks.exact, tenant));
      if (kept + 16 < store::tokens_of(lines[i])) continue;
      for (const store::Entry& entry : lines[i]) done.insert(entry.head.own);
    }
    if (done.empty()) continue;
    KVS_ASSIGN(const auto dropped,
               store_.drop([&](const store::Entry& e) { return done.contains(e.head.own); }));
    log_line("coded", {{"objects", dropped.objects}, {"bytes_before", dropped.bytes}});
  }
  return {};
}

void Service::learn() {
  const AtLowPriority here;
  learn_at_ = options_.learn_after;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, kPause, [&] { return ending_; });
      if (ending_) return;
    }
    if (!is_ready()) continue;
    const Banks banks = this->banks();
    Result<> done;
    if (banks.exact) {
      done = take_over_exact(banks);
    } else if (options_.learn_after > 0 && !take_learnt()) {
      done = try_to_learn(banks);
    }
    if (done.ok()) continue;
    const std::lock_guard lock(mutex_);
    learning_ = done.error().message;
    if (!ending_) log_line("not_learnt", {{"why", done.error().message}});
  }
}

}  // namespace kvsplice::serve
