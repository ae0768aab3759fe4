// The server's slots: what is known to lie in each, and who uses it. A slot serves one request, or
// one move of cells, at a time.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace kvsplice::serve {

using Clock = std::chrono::steady_clock;

// What lies in a slot, as far as we know: the server may hold more behind it, never less.
struct SlotContent {
  std::string tenant;
  std::vector<int32_t> tokens;  // of the last request, or of what was restored
  bool dirty = false;           // something new has been computed
  bool poisoned = false;        // with adapters, or unknown whose: not to be used, nor stored
  bool in_use = false;          // something lies in it, though we may not know its tokens

  bool is_empty() const { return !in_use; }
};

struct SlotView {
  int id = 0;
  bool busy = false;
  SlotContent content;
  Clock::time_point used;
};

class Slots {
 public:
  explicit Slots(int count);

  // The right to use a slot until it goes out of scope. What it says of a slot is forgotten with
  // the rest when the server has started anew meanwhile.
  class Lease {
   public:
    Lease(Lease&& other) noexcept
        : slots_(std::exchange(other.slots_, nullptr)), id_(other.id_), since_(other.since_) {}
    Lease& operator=(Lease&& other) = delete;
    ~Lease() {
      if (slots_ != nullptr) slots_->give_back(id_);
    }
    int id() const { return id_; }
    SlotContent content() const { return slots_->content_of(id_); }
    void put(SlotContent content) { slots_->put(id_, since_, std::move(content)); }

   private:
    friend class Slots;
    Lease(Slots& slots, int id, uint64_t since) : slots_(&slots), id_(id), since_(since) {}
    Slots* slots_;
    int id_;
    uint64_t since_;  // generation
  };

  // Waits for the best free slot: of the same tenant the one that shares most with the tokens, if
  // that is a good part of what lies in it; else an empty one; else the least recently used. A slot
  // the client names is waited for.
  Lease take(const std::string& tenant, std::span<const int32_t> tokens, std::optional<int> wanted);
  // A slot that holds nothing, or that nobody has used since `before`.
  std::optional<Lease> take_rested(Clock::time_point before);
  // A dirty slot that nobody has used since `before`, longest waiting first.
  std::optional<Lease> take_dirty(Clock::time_point before);
  std::vector<Lease> take_all();

  // The server may have started anew. Nobody knows then what lies in slots: they are not taken for
  // empty, or somebody would be given what lies there still, of others.
  void forget();
  // It may have emptied slots by itself: what lies in those that nobody uses is used no more, but
  // still saved.
  void doubt();
  std::vector<SlotView> view() const;
  int count() const { return static_cast<int>(slots_.size()); }

 private:
  struct Slot {
    bool busy = false;
    SlotContent content;
    Clock::time_point used = {};  // never
  };
  Lease lease(size_t id);  // with the mutex held
  void give_back(int id);
  SlotContent content_of(int id) const;
  void put(int id, uint64_t since, SlotContent content);
  std::optional<int> best(const std::string& tenant, std::span<const int32_t> tokens) const;

  mutable std::mutex mutex_;
  std::condition_variable freed_;
  std::vector<Slot> slots_;
  uint64_t generation_ = 0;  // how often all was forgotten
};

}  // namespace kvsplice::serve
