#include "serve/slots.h"

#include <algorithm>
#include <utility>

#include "store/chain.h"

namespace kvsplice::serve {

Slots::Slots(int count) : slots_(static_cast<size_t>(std::max(count, 0))) {}

// Half of what lies in a slot must be of use, or another conversation would be lost for a greeting
// that both begin with.
std::optional<int> Slots::best(const std::string& tenant, std::span<const int32_t> tokens) const {
  std::optional<int> best;
  const auto worth = [&](const Slot& slot) {
    const SlotContent& held = slot.content;
    const size_t shared =
        held.tenant == tenant && !held.poisoned ? store::shared_length(held.tokens, tokens) : 0;
    const bool goes_on = shared > 0 && 2 * shared >= held.tokens.size();
    const bool empty = held.is_empty();
    return std::tuple(goes_on ? shared : 0, empty, -slot.used.time_since_epoch().count());
  };
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].busy) continue;
    if (!best || worth(slots_[i]) > worth(slots_[size_t(*best)])) best = static_cast<int>(i);
  }
  return best;
}

Slots::Lease Slots::take(const std::string& tenant, std::span<const int32_t> tokens,
                         std::optional<int> wanted) {
  std::unique_lock lock(mutex_);
  std::optional<int> chosen;
  freed_.wait(lock, [&] {
    if (wanted) {
      const int id = *wanted % static_cast<int>(slots_.size());  // as llama-server does
      chosen = slots_[size_t(id)].busy ? std::nullopt : std::optional(id);
    } else {
      chosen = best(tenant, tokens);
    }
    return chosen.has_value();
  });
  return lease(size_t(*chosen));
}

std::optional<Slots::Lease> Slots::take_dirty(Clock::time_point before) {
  const std::lock_guard lock(mutex_);
  Slot* oldest = nullptr;
  for (Slot& slot : slots_) {
    if (slot.busy || !slot.content.dirty || slot.used > before) continue;
    if (oldest == nullptr || slot.used < oldest->used) oldest = &slot;
  }
  if (oldest == nullptr) return std::nullopt;
  return lease(static_cast<size_t>(oldest - slots_.data()));
}

std::optional<Slots::Lease> Slots::take_rested(Clock::time_point before) {
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    if (!slot.busy && (slot.content.is_empty() || slot.used < before)) return lease(i);
  }
  return std::nullopt;
}

std::vector<Slots::Lease> Slots::take_all() {
  std::unique_lock lock(mutex_);
  std::vector<Lease> all;
  for (size_t i = 0; i < slots_.size(); ++i) {
    freed_.wait(lock, [&] { return !slots_[i].busy; });
    all.push_back(lease(i));
  }
  return all;
}

Slots::Lease Slots::lease(size_t id) {
  slots_[id].busy = true;
  return Lease(*this, static_cast<int>(id), generation_);
}

SlotContent Slots::content_of(int id) const {
  const std::lock_guard lock(mutex_);
  return slots_[size_t(id)].content;
}

void Slots::put(int id, uint64_t since, SlotContent content) {
  const std::lock_guard lock(mutex_);
  if (since == generation_) slots_[size_t(id)].content = std::move(content);
}

void Slots::give_back(int id) {
  const std::lock_guard lock(mutex_);
  slots_[size_t(id)].busy = false;
  slots_[size_t(id)].used = Clock::now();
  freed_.notify_all();
}

void Slots::forget() {
  const std::lock_guard lock(mutex_);
  for (Slot& slot : slots_) {
    slot.content = {.tenant = {}, .tokens = {}, .poisoned = true, .in_use = true};
  }
  ++generation_;
}

void Slots::doubt() {
  const std::lock_guard lock(mutex_);
  for (Slot& slot : slots_) {
    if (!slot.busy && !slot.content.is_empty()) slot.content.poisoned = true;
  }
}

std::vector<SlotView> Slots::view() const {
  const std::lock_guard lock(mutex_);
  std::vector<SlotView> all;
  for (size_t i = 0; i < slots_.size(); ++i) {
    all.push_back({static_cast<int>(i), slots_[i].busy, slots_[i].content, slots_[i].used});
  }
  return all;
}

}  // namespace kvsplice::serve
