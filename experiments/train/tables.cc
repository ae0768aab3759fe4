#include <fmt/format.h>

#include "experiments/train/judge.h"
#include "experiments/train/study.h"

namespace kvsplice::experiment::train {

namespace {

using report::Cell;
using report::Table;

Cell known(double value, bool is) { return is ? Cell(value) : Cell(); }

// The mean over seeds of what points of a variant have.
template <class Field>
Spread mean_of(const Study& study, const std::string& variant, const std::string& text,
               const std::string& store, const Field& field) {
  std::vector<double> values;
  for (int seed = 0; seed < study.options.seeds; ++seed) {
    values.push_back(study.point(variant, seed, text, store).*field);
  }
  return spread_of(values);
}

Table trainings_table(const Study& study) {
  Table table("trainings", "Models, and the loss of the last tenth of their training",
              {{"variant"}, {"seed"}, {"parameters"}, {"tokens"}, {"loss", 4}, {"seconds", 1}});
  for (const Training& t : study.found.trainings) {
    table.add(
        {t.variant, int64_t(t.seed), int64_t(t.parameters), int64_t(t.tokens), t.loss, t.seconds});
  }
  return table;
}

Table points_table(const Study& study) {
  Table table("points", "Nats per byte of text, and stored bytes a token; means over seeds",
              {{"text"},
               {"variant"},
               {"store"},
               {"bytes_per_token", 1},
               {"ratio", 2},
               {"nats_per_byte", 4},
               {"standard_error", 4}});
  for (const auto& text : study.texts) {
    for (const Variant& v : study.variants) {
      for (const Store& store : stores_of(study.options)) {
        const auto bytes = mean_of(study, v.name, text, store.name, &Point::bytes_per_token);
        const auto nats = mean_of(study, v.name, text, store.name, &Point::nats_per_byte);
        table.add({text, v.name, store.name, bytes.mean,
                   known(study.full_bytes() / bytes.mean, bytes.mean > 0), nats.mean,
                   known(nats.error, nats.count > 1)});
      }
    }
  }
  return table;
}

Table budgets_table(const Study& study) {
  Table table("equal_bytes",
              "Nats per byte more than of the full cache, and than of the control, within the same "
              "stored bytes; test texts, paired by seed",
              {{"variant"},
               {"part_of_f16"},
               {"bytes_per_token", 1},
               {"to_full", 5},
               {"error", 5},
               {"control"},
               {"to_control", 5},
               {"control_error", 5}});
  for (const Variant& v : study.variants) {
    for (const int part : kBudgets) {
      const double bytes = study.full_bytes() / part;
      const Spread full = difference_within(study, v.name, "full", bytes);
      const bool controlled = study.has(v.control) && v.control != "full";
      const Spread control =
          controlled ? difference_within(study, v.name, v.control, bytes) : Spread();
      table.add({v.name, fmt::format("1/{}", part), bytes, known(full.mean, full.count > 0),
                 known(full.error, full.count > 1), controlled ? Cell(v.control) : Cell(),
                 known(control.mean, control.count > 0), known(control.error, control.count > 1)});
    }
  }
  return table;
}

Table loop_table(const Study& study) {
  Table table("llama_cpp",
              "Exported models in llama.cpp, keys and values multiplied out, with the codec that "
              "calibrate fits",
              {{"variant"},
               {"seed"},
               {"text"},
               {"cache"},
               {"bytes_per_token", 1},
               {"nats_per_token", 5},
               {"own_nats_per_token", 5},
               {"kld", 5}});
  for (const Looped& l : study.found.looped) {
    table.add({l.variant, int64_t(l.seed), l.text, l.cache, l.bytes_per_token, l.nats_per_token,
               known(l.own_nats_per_token, l.own_nats_per_token > 0), l.kld});
  }
  return table;
}

}  // namespace

std::vector<Table> tables(const Study& study) {
  std::vector<Table> all = {budgets_table(study), points_table(study), trainings_table(study)};
  if (!study.found.looped.empty()) all.push_back(loop_table(study));
  return all;
}

}  // namespace kvsplice::experiment::train
