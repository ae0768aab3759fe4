// kvsplice bench [-m M.gguf] [--only NAME] [-o DIR]
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

#include "bench/bench.h"
#include "command.h"
#include "core/threads.h"
#include "report/machine.h"
#include "report/results.h"

namespace kvsplice::app {

namespace {

using bench::BenchCase;

struct Options {
  std::vector<std::string> only;
  std::string dir;
  bench::Places places;
};

std::vector<std::string> names() {
  std::vector<std::string> all;
  for (const auto& c : bench::bench_table()) all.push_back(c.name);
  return all;
}

Result<> check(const std::vector<std::string>& only) {
  const auto known = names();
  for (const auto& name : only) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      return Error{ErrorKind::usage, fmt::format("no benchmark is called '{}'; there are: {}", name,
                                                 fmt::join(known, ", "))};
    }
  }
  return {};
}

std::vector<BenchCase> chosen(const std::vector<std::string>& only) {
  std::vector<BenchCase> cases;
  for (const auto& c : bench::bench_table()) {
    if (only.empty() || std::find(only.begin(), only.end(), c.name) != only.end()) {
      cases.push_back(c);
    }
  }
  return cases;
}

Result<report::Table> measure(const Options& options, bench::Surroundings& here) {
  report::Table table = bench::bench_results();
  const Progress progress = terminal_progress();
  const std::vector<BenchCase> cases = chosen(options.only);
  for (size_t i = 0; i < cases.size(); ++i) {
    const BenchCase& c = cases[i];
    KVS_TRY(progress.step(c.name, i, cases.size()));
    KVS_ASSIGN(const auto measurements, c.run(here));
    for (const auto& m : measurements) bench::add_rows(table, c.name, m);
  }
  return table;
}

std::string limits_text(const Limits& limits) {
  const report::Machine machine = report::this_machine();
  return fmt::format(
      "{}, {} threads, {}, OpenBLAS {}: reads {:.1f} GB/s, updates {:.1f} GB/s, multiplies and "
      "adds {:.0f} GFLOP/s",
      machine.cpu, thread_count(), machine.simd, machine.blas, limits.read_gb_per_s,
      limits.update_gb_per_s, limits.fma_gflop_per_s);
}

Result<> write(const bench::Surroundings& here, const report::Table& table,
               report::Results& results) {
  results.note("threads", thread_count());
  results.note("read_gb_per_s", here.limits().read_gb_per_s);
  results.note("update_gb_per_s", here.limits().update_gb_per_s);
  results.note("fma_gflop_per_s", here.limits().fma_gflop_per_s);
  if (!here.notes().empty())
    results.note("notes", fmt::format("{}", fmt::join(here.notes(), "; ")));
  KVS_TRY(results.add(table));
  return results.finish();
}

Result<> run(const Options& options) {
  KVS_TRY(check(options.only));
  std::optional<report::Results> results;
  if (!options.dir.empty()) {
    KVS_ASSIGN(results, report::Results::create(options.dir, "bench", command_line()));
  }
  bench::Surroundings here(measure_limits(), options.places);
  KVS_ASSIGN(const report::Table table, measure(options, here));
  fmt::print("{}\n{}\n", table.text(), limits_text(here.limits()));
  for (const auto& note : here.notes()) fmt::print("{}\n", note);
  return results ? write(here, table, *results) : Result<>{};
}

}  // namespace

Command bench_command() {
  return {"bench", "times against the machine's limits and other programs", [](CLI::App& verb) {
            auto options = std::make_shared<Options>();
            verb.add_option("--only", options->only,
                            fmt::format("only these: {}", fmt::join(names(), ", ")));
            bench::Places& places = options->places;
            verb.add_option("-m,--model", places.model, "a model, for what is timed on one");
            verb.add_option("--codec", places.codec,
                            "its codec, for serve, or for live; none: without loss");
            verb.add_option("--text", places.text, "a file of prose, for serve and live");
            verb.add_option("--server", places.server, "llama-server, for serve");
            verb.add_option("--hearth", places.hearth, "the program of hearth-llm, for serve");
            verb.add_option("-o,--out", options->dir, "directory for bench.csv and a manifest");
            verb.add_option("--python", places.python, "a Python with peers (numpy, torch)")
                ->capture_default_str();
            return [options] { return run(*options); };
          }};
}

}  // namespace kvsplice::app
