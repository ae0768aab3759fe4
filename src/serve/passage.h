// One request on its way through the service: what was done before it, and what its answer says.
#pragma once

#include <string_view>
#include <vector>

#include "core/stopwatch.h"
#include "serve/service.h"

namespace kvsplice::serve {

// The numbers that llama-server puts into an answer, wherever they stand in it.
class AnswerWatch {
 public:
  void feed(std::string_view bytes);
  struct Numbers {
    size_t cached = 0, evaluated = 0, predicted = 0;
    double evaluate_seconds = 0;
  };
  Numbers numbers() const;

 private:
  std::string end_;  // of the answer, as far as it may matter
};

class Service::Passage {
 public:
  Passage(Service& service, OutgoingRequest request, const std::string& path);
  ~Passage();

  // As Exchange has them.
  Result<AnswerHead> head(const std::function<bool()>& gone);
  bool pour(const Exchange::Receiver& receiver, const std::function<bool()>& gone);

 private:
  void prepare(Asked asked, OutgoingRequest& request);
  void take_slots(const Asked& asked);
  void give_all_away();
  void leave_slot();
  void fill_slot(const Asked& asked);
  Result<std::vector<int32_t>> tokens_of(const Asked& asked) const;

  Service& service_;
  const Api api_;
  const Stopwatch watch_;
  std::string tenant_;
  std::vector<int32_t> tokens_;
  std::vector<Slots::Lease> leases_;  // one, or all
  Served served_;
  bool has_own_cells_ = true;  // in the slot: what was somebody else's has been erased
  AnswerWatch answer_;
  std::unique_ptr<Exchange> exchange_;
};

}  // namespace kvsplice::serve
