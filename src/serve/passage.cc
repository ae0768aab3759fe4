#include "serve/passage.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

namespace kvsplice::serve {

namespace {

// Who asks, as far as a key says it, and the part of his that the body names.
std::string tenant_of(const Headers& headers, const Asked& asked) {
  const std::string key = key_of(headers);
  return asked.salt.empty() ? key : key + '\n' + asked.salt;
}

constexpr size_t kForgotten = 16;  // tokens that the server evaluates again for reasons of its own

}  // namespace

void AnswerWatch::feed(std::string_view bytes) {
  constexpr size_t kMost = size_t{1} << 18;
  end_ += bytes;
  if (end_.size() > 2 * kMost) end_.erase(0, end_.size() - kMost);
}

AnswerWatch::Numbers AnswerWatch::numbers() const {
  const std::string key = "\"timings\":";
  Numbers numbers;
  const size_t at = end_.rfind(key);
  if (at == end_.npos) return numbers;
  const size_t close = end_.find('}', at);  // nothing in it is an object
  if (close == end_.npos) return numbers;
  const auto timings = parse_json(end_.substr(at + key.size(), close + 1 - at - key.size()));
  if (!timings) return numbers;
  numbers.cached = count_at(*timings, "cache_n");
  numbers.evaluated = count_at(*timings, "prompt_n");
  numbers.predicted = count_at(*timings, "predicted_n");
  numbers.evaluate_seconds = number_at(*timings, "prompt_ms").value_or(0) / 1e3;
  return numbers;
}

Service::Passage::Passage(Service& service, OutgoingRequest request, const std::string& path)
    : service_(service), api_(api_of(request.method, path)) {
  served_.at = static_cast<double>(std::time(nullptr));
  served_.api = serve::name(api_);
  service_.record_.change([&](Counts& counts) {
    counts.requests += 1;
    counts.passed_through += api_ == Api::none;
  });
  // Who has no key finds nothing of others in slots or times: the server refuses him.
  if (api_ != Api::none && service_.is_ready() && service_.admits(key_of(request.headers))) {
    service_.doubt_if_asleep();
    if (api_ == Api::other || api_ == Api::adapters) {
      give_all_away();
    } else if (auto asked = understand(api_, request.body)) {
      tenant_ = tenant_of(request.headers, *asked);
      service_.note_tenant(tenant_);
      prepare(std::move(*asked), request);
    } else if (may_be_answered(request.body)) {
      give_all_away();
    }
  }
  exchange_ = std::make_unique<Exchange>(*service_.upstream_, std::move(request));
}

void Service::Passage::prepare(Asked asked, OutgoingRequest& request) {
  auto tokens = tokens_of(asked);
  if (tokens.ok()) {
    tokens_ = std::move(tokens).value();
  } else {
    served_.why_not = tokens.error().message;
  }
  served_.prompt = tokens_.size();
  take_slots(asked);
  if (leases_.size() != 1) return;
  if (service_.is_ready()) {
    fill_slot(asked);
  } else {
    leave_slot();
  }
  request.body = body_for(asked, served_.slot, has_own_cells_);
}

// Nothing where the server has no tokens for it, or would not put them together as we do.
Result<std::vector<int32_t>> Service::Passage::tokens_of(const Asked& asked) const {
  if (asked.media) return Error{ErrorKind::unsupported, "images or sound in the prompt"};
  return prompt_tokens(*service_.upstream_, asked);
}

void Service::Passage::give_all_away() {
  served_.why_not = "the server takes slots of its choice";
  leases_ = service_.slots_->take_all();
  for (Slots::Lease& lease : leases_) service_.give_away(lease);
}

void Service::Passage::take_slots(const Asked& asked) {
  if (asked.several) {
    give_all_away();
    return;
  }
  leases_.push_back(service_.slots_->take(tenant_, tokens_, asked.slot));
  served_.slot = leases_[0].id();
}

// While this waited the server was lost, or its adapters were changed: what is known of slots and
// cells holds no more.
void Service::Passage::leave_slot() {
  served_.why_not = "the server is looked at again";
  has_own_cells_ = false;
  leases_[0].put({.tenant = tenant_, .tokens = {}, .poisoned = true, .in_use = true});
}

void Service::Passage::fill_slot(const Asked& asked) {
  Slots::Lease& lease = leases_[0];
  SlotContent content = lease.content();
  const bool is_ours = content.tenant == tenant_ && !content.poisoned;
  size_t there = is_ours ? store::shared_length(content.tokens, tokens_) : 0;
  const bool goes_on = is_ours && there == content.tokens.size();
  if (content.dirty && !goes_on) service_.write_out(lease, content);
  // What belongs to somebody else must not be found by the server either.
  if (!is_ours && !content.is_empty()) has_own_cells_ = service_.upstream_->erase(lease.id()).ok();
  if (!is_ours) content = {};
  content.tenant = tenant_;
  served_.there = there;
  if (asked.adapters) {
    served_.why_not = "adapters in the request";
    content.poisoned = true;
  } else if (!tokens_.empty()) {
    content.tokens.resize(there);
    const Restored restored = service_.restore(lease, content, tokens_);
    served_.restored = restored.tokens;
    served_.restore_seconds = restored.seconds;
    served_.why_not = restored.why_not;
    has_own_cells_ = has_own_cells_ || restored.tokens > 0;
  }
  // The server knows more than we do once it has begun; what we say of the slot stays true.
  content.tokens = tokens_;
  content.dirty = !content.poisoned;
  content.in_use = true;
  lease.put(content);
}

Result<AnswerHead> Service::Passage::head(const std::function<bool()>& gone) {
  auto head = exchange_->head(gone);
  if (!head.ok() && head.error().kind == ErrorKind::io && service_.is_ready()) {
    service_.lost_server(head.error().message);
  }
  if (!head.ok()) return head;
  served_.status = head->status;
  // Before the client hears of it: what it asks next means the new cells.
  if (api_ == Api::adapters && head->status == 200) {
    service_.look_again("its adapters were changed");
  }
  if (!leases_.empty() && served_.slot >= 0) {
    head->headers.emplace_back("X-KVSplice-Restored",
                               fmt::format("{}/{}", served_.restored, served_.prompt));
    head->headers.emplace_back("X-KVSplice-Restore-Ms",
                               fmt::format("{:.0f}", served_.restore_seconds * 1e3));
  }
  return head;
}

bool Service::Passage::pour(const Exchange::Receiver& receiver, const std::function<bool()>& gone) {
  const auto take = [&](const char* bytes, size_t n) {
    if (served_.first_byte_seconds == 0) served_.first_byte_seconds = watch_.seconds();
    if (!leases_.empty()) answer_.feed({bytes, n});
    return receiver(bytes, n);
  };
  return exchange_->pour(take, gone);
}

Service::Passage::~Passage() {
  exchange_.reset();  // the server has stopped working for us before the slot is free
  if (api_ != Api::none) service_.dismiss();
  if (leases_.empty()) return;
  const AnswerWatch::Numbers numbers = answer_.numbers();
  served_.cached = numbers.cached;
  served_.predicted = numbers.predicted;
  served_.seconds = watch_.seconds();
  // A server that has started anew without our seeing it, or has emptied slots to make room.
  if (numbers.evaluated > 0 && numbers.cached + kForgotten < served_.there) {
    service_.slots_->doubt();
  }
  service_.gate_.evaluated(numbers.evaluated, numbers.evaluate_seconds);
  if (served_.restored > served_.there) {
    served_.saved_seconds = service_.gate_.seconds_to_evaluate(served_.restored - served_.there) -
                            served_.restore_seconds;
  }
  log_line("request", to_json(served_));
  service_.record_.add(std::move(served_));
}

}  // namespace kvsplice::serve
