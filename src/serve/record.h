// What has been done, for people and for monitors.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <string>

#include "serve/json.h"

namespace kvsplice::serve {

// One request, from its end. Never of its text.
struct Served {
  std::string api;  // as request.h names it
  double at = 0;    // seconds since 1970
  int status = 0, slot = -1;
  size_t prompt = 0;     // tokens
  size_t restored = 0;   // of them from the store
  size_t there = 0;      // of them in the slot already
  size_t cached = 0;     // of them the server did not evaluate, by its own word
  size_t predicted = 0;  // tokens of the answer
  double restore_seconds = 0, first_byte_seconds = 0, seconds = 0;
  double saved_seconds = 0;  // evaluation that restoring has saved, less its own time
  std::string why_not;       // nothing was restored because
};

struct Counts {
  uint64_t requests = 0, passed_through = 0, handled = 0, failed = 0;
  uint64_t restores = 0, restores_hot = 0, restores_failed = 0, saves = 0, saves_failed = 0;
  uint64_t prompt_tokens = 0, restored_tokens = 0, cached_tokens = 0;
  uint64_t stored_objects = 0, stored_bytes = 0, stored_tokens = 0;
  double restore_seconds = 0, save_seconds = 0, code_seconds = 0, saved_seconds = 0;
  std::string last_failure;  // of a restore or save: why
};

class Record {
 public:
  void add(Served served);
  template <class Change>
  void change(Change&& change) {
    const std::lock_guard lock(mutex_);
    change(counts_);
  }
  Counts counts() const;
  std::deque<Served> last() const;  // newest first

 private:
  static constexpr size_t kKept = 50;
  mutable std::mutex mutex_;
  Counts counts_;
  std::deque<Served> last_;
};

Json to_json(const Served& served);

// One line on the error stream: time, what, and pairs. Values with blanks are quoted.
void log_line(const std::string& what, const Json& pairs);

}  // namespace kvsplice::serve
