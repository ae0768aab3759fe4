// Lists of numbers that take a while to compute: each is computed once, by this process or another
// of its team, now or in an earlier run, and kept in a journal.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "experiments/experiment.h"
#include "experiments/journal.h"

namespace kvsplice::experiment {

struct Numbers {
  std::vector<double> values;
};

template <class Record, class F>  // Numbers, const or not
void visit_fields(Record& r, F&& f) requires std::same_as<std::remove_const_t<Record>, Numbers> {
  f("values", r.values);
}

class Kept {
 public:
  using Compute = std::function<Result<std::vector<double>>()>;

  // `identity` is of everything that all of the numbers depend on.
  static Result<Kept> open(const Setting& setting, const std::string& identity);

  void want(const std::string& name, Compute compute);
  Result<> compute();  // what is wanted and not there

  // Of numbers that were wanted and computed.
  const std::vector<double>& of(const std::string& name) const;

 private:
  struct Wanted {
    std::string name;
    Compute compute;
  };

  Kept(const Setting& setting, std::string identity, Journal<Numbers> journal)
      : setting_(setting), identity_(std::move(identity)), journal_(std::move(journal)) {}
  std::string key_of(const std::string& name) const { return identity_ + "/" + name; }

  const Setting& setting_;
  std::string identity_;
  Journal<Numbers> journal_;
  std::vector<Wanted> wanted_;
};

}  // namespace kvsplice::experiment
