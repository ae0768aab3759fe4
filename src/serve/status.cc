// What a service says of itself.
#include <fmt/format.h>

#include <ctime>
#include <initializer_list>

#include "core/version.h"
#include "serve/service.h"

namespace kvsplice::serve {

namespace {

struct Metric {
  const char* name;
  const char* kind;
  const char* help;
  double value;
};

std::string print(std::initializer_list<Metric> metrics) {
  std::string text;
  for (const Metric& m : metrics) {
    text += fmt::format("# HELP kvsplice_{0} {1}\n# TYPE kvsplice_{0} {2}\nkvsplice_{0} {3}\n",
                        m.name, m.help, m.kind, m.value);
  }
  return text;
}

Json to_json(const Counts& c) {
  return {{"requests", c.requests},
          {"passed_through", c.passed_through},
          {"handled", c.handled},
          {"failed", c.failed},
          {"restores", c.restores},
          {"restores_hot", c.restores_hot},
          {"restores_failed", c.restores_failed},
          {"saves", c.saves},
          {"saves_failed", c.saves_failed},
          {"prompt_tokens", c.prompt_tokens},
          {"restored_tokens", c.restored_tokens},
          {"cached_tokens", c.cached_tokens},
          {"stored_objects", c.stored_objects},
          {"stored_bytes", c.stored_bytes},
          {"stored_tokens", c.stored_tokens},
          {"restore_seconds", c.restore_seconds},
          {"save_seconds", c.save_seconds},
          {"code_seconds", c.code_seconds},
          {"saved_seconds", c.saved_seconds},
          {"last_failure", c.last_failure}};
}

Json view_json(const store::DepotView& remote) {
  const store::DepotCounts& c = remote.counts;
  return {{"url", remote.where},
          {"breaker", store::name(remote.state)},
          {"seconds_until_next", remote.seconds_until_next},
          {"hits", c.hits},
          {"misses", c.misses},
          {"failures", c.failures},
          {"spoilt", c.spoilt},
          {"got_objects", c.got_objects},
          {"got_bytes", c.got_bytes},
          {"put_objects", c.put_objects},
          {"put_bytes", c.put_bytes},
          {"refused", c.refused},
          {"dropped", c.dropped},
          {"queued_objects", c.queued},
          {"queued_bytes", c.queued_bytes},
          {"last_error", remote.last_error}};
}

std::string metrics_of(const store::DepotView& remote) {
  const store::DepotCounts& c = remote.counts;
  const bool asked = remote.state == store::Breaker::State::closed;
  return print({
      Metric{"remote_up", "gauge", "1 if the remote is asked", asked ? 1.0 : 0.0},
      Metric{"remote_hits_total", "counter", "Prompts the remote had something of", double(c.hits)},
      Metric{"remote_misses_total", "counter", "Prompts it had nothing of", double(c.misses)},
      Metric{"remote_failures_total", "counter", "Calls of it that failed", double(c.failures)},
      Metric{"remote_spoilt_total", "counter", "Values that were not what their names say",
             double(c.spoilt)},
      Metric{"remote_got_bytes_total", "counter", "Bytes taken from it", double(c.got_bytes)},
      Metric{"remote_put_bytes_total", "counter", "Bytes sent to it", double(c.put_bytes)},
      Metric{"remote_refused_total", "counter", "Objects it would not take", double(c.refused)},
      Metric{"remote_dropped_total", "counter", "Objects that found no room in the queue",
             double(c.dropped)},
      Metric{"remote_queued_objects", "gauge", "Objects that wait to be sent", double(c.queued)},
      Metric{"remote_queued_bytes", "gauge", "Bytes that wait to be sent", double(c.queued_bytes)},
  });
}

}  // namespace

const char* Service::name(State state) {
  switch (state) {
    case State::starting:
      return "starting";
    case State::testing:
      return "testing";
    case State::ready:
      return "ready";
    case State::passing:
      return "passing through";
  }
  return "unknown";
}

// How much smaller than f16 the cells are that lie in the store, which may have those of other
// models, too: of the tenants seen since the start. 0: nothing yet.
double Service::ratio(const Banks& banks) const {
  double tokens = 0, bytes = 0;
  for (const std::string& tenant : tenants()) {
    for (const auto& bank : {banks.now, banks.exact}) {
      if (!bank) continue;
      const auto totals = store_.totals_of(bank->root_of(tenant));
      if (!totals.ok()) continue;
      tokens += double(totals->tokens);
      bytes += double(totals->bytes);
    }
  }
  return bytes > 0 ? tokens * double(coder_.shape.f16_bytes_per_token()) / bytes : 0;
}

Json Service::status() const {
  Json status = Json::object();
  ServerFacts facts;
  bool ready = false;
  Banks banks;
  {
    const std::lock_guard lock(mutex_);
    status["version"] = version();
    status["state"] = name(state_);
    status["why"] = why_;
    status["seconds"] = std::time(nullptr) - begun_;
    facts = facts_;
    status["files_waiting"] = waiting_.size() + keeping_;
    status["learning"] = learning_;
    banks = banks_;
    ready = slots_ != nullptr && state_ == State::ready;
  }
  status["server"] = {{"address", upstream_->address().text()},
                      {"build", facts.build},
                      {"model", facts.model_path},
                      {"context", facts.context},
                      {"starts", process_ ? process_->starts() : 0}};
  const ModelShape& shape = coder_.shape;
  const codec::Codec* codec = banks.now ? banks.now->coder().codec : coder_.codec;
  status["cells"] = {{"model", shape.model_name},
                     {"f16_bytes_per_token", shape.f16_bytes_per_token()},
                     {"codec", codec ? codec::print(codec->text()) : "lossless"}};
  Json store = {{"folder", store_.folder()}, {"cap_bytes", options_.limits.bytes}};
  if (const auto totals = store_.totals(); totals.ok()) {
    store["objects"] = totals->objects;
    store["bytes"] = totals->bytes;
    store["tokens"] = totals->tokens;
    store["ratio"] = ratio(banks);
  }
  status["store"] = store;
  const HotFiles::Totals hot = hot_.totals();
  status["hot"] = {{"cap_bytes", options_.hot_bytes}, {"files", hot.files}, {"bytes", hot.bytes}};
  if (const auto remote = store_.remote()) status["remote"] = view_json(*remote);
  const Gate::Rates rates = gate_.rates();
  status["rates"] = {{"evaluate_tokens_per_second", rates.evaluate},
                     {"restore_tokens_per_second", rates.restore}};
  status["counts"] = to_json(record_.counts());
  status["slots"] = Json::array();
  if (ready) {
    for (const SlotView& slot : slots_->view()) {
      status["slots"].push_back({{"id", slot.id},
                                 {"busy", slot.busy},
                                 {"tokens", slot.content.tokens.size()},
                                 {"to_be_saved", slot.content.dirty}});
    }
  }
  status["requests"] = Json::array();
  for (const Served& served : record_.last()) status["requests"].push_back(serve::to_json(served));
  return status;
}

std::string Service::metrics() const {
  const Counts c = record_.counts();
  const auto totals = store_.totals();
  const store::Totals stored = totals.ok() ? *totals : store::Totals{};
  std::string text = print({
      Metric{"up", "gauge", "1 if cells are restored", is_ready() ? 1.0 : 0.0},
      Metric{"requests_total", "counter", "Requests of all kinds", double(c.requests)},
      Metric{"requests_handled_total", "counter", "Requests with a prompt", double(c.handled)},
      Metric{"requests_failed_total", "counter", "Requests with a prompt that failed",
             double(c.failed)},
      Metric{"prompt_tokens_total", "counter", "Tokens of prompts", double(c.prompt_tokens)},
      Metric{"restored_tokens_total", "counter", "Tokens restored from the store",
             double(c.restored_tokens)},
      Metric{"cached_tokens_total", "counter", "Tokens the server did not evaluate",
             double(c.cached_tokens)},
      Metric{"restores_total", "counter", "Slots filled from the store", double(c.restores)},
      Metric{"restores_hot_total", "counter", "Of these, from a slot file kept as it is",
             double(c.restores_hot)},
      Metric{"restores_failed_total", "counter", "Slots that could not be filled",
             double(c.restores_failed)},
      Metric{"restore_seconds_total", "counter", "Time of restoring", c.restore_seconds},
      Metric{"saves_total", "counter", "Slots saved", double(c.saves)},
      Metric{"saves_failed_total", "counter", "Slots that could not be saved or kept",
             double(c.saves_failed)},
      Metric{"saved_seconds_total", "counter", "Evaluation that restoring has saved",
             c.saved_seconds},
      Metric{"store_objects", "gauge", "Objects in the store", double(stored.objects)},
      Metric{"store_bytes", "gauge", "Bytes in the store", double(stored.bytes)},
      Metric{"hot_bytes", "gauge", "Bytes of slot files kept as they are",
             double(hot_.totals().bytes)},
      Metric{"store_tokens", "gauge", "Tokens in the store", double(stored.tokens)},
  });
  if (const auto remote = store_.remote()) text += metrics_of(*remote);
  return text;
}

}  // namespace kvsplice::serve
