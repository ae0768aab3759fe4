#include "bench/bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <sstream>

#include "report/subprocess.h"

namespace kvsplice::bench {

namespace {

std::string last_line(const std::string& text) {
  std::istringstream lines(text);
  std::string last;
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) last = line;
  }
  return last;
}

}  // namespace

double Surroundings::limit_ms(double flops, double read_bytes, double updated_bytes) const {
  const double memory =
      read_bytes / limits_.read_gb_per_s + updated_bytes / limits_.update_gb_per_s;
  return std::max(flops / limits_.fma_gflop_per_s, memory) / 1e6;
}

void Surroundings::note(const std::string& text) {
  if (std::find(notes_.begin(), notes_.end(), text) == notes_.end()) notes_.push_back(text);
}

std::vector<Peer> Surroundings::peers(const std::string& script,
                                      std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(),
                   {places_.python, "-"});  // the program comes from standard input
  const auto run = report::run_program(arguments, peer_script(script));
  if (!run.ok()) {
    note("peers are left out: " + run.error().message);
    return {};
  }
  if (run->exit_code != 0) {
    note(fmt::format("peers of {} ended with exit code {}: {}", script, run->exit_code,
                     last_line(run->errors)));
  }
  std::vector<Peer> peers;
  std::istringstream lines(run->output);
  for (std::string line; std::getline(lines, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object()) continue;
    if (json.contains("missing")) {
      note(fmt::format("{} is not installed for {}", json["missing"].dump(), places_.python));
    } else if (json.contains("peer") && json.contains("ms") && json["ms"].is_number()) {
      peers.push_back({json["peer"].get<std::string>(), json["ms"].get<double>()});
    }
  }
  return peers;
}

double best_ms(const std::function<void()>& body) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point t) {
    return std::chrono::duration<double, std::milli>(Clock::now() - t).count();
  };
  const auto start = Clock::now();
  double best = 1e18;
  for (int run = 0; run == 0 || since(start) < (run < 3 ? 10000 : 500); ++run) {
    const auto begun = Clock::now();
    body();
    best = std::min(best, since(begun));
  }
  return best;
}

report::Table bench_results() {
  return {"bench",
          "Times beside the machine's limits and other programs",
          {{"name"},
           {"case"},
           {"ours_ms", 3},
           {"limit_ms", 3},
           {"fraction_of_limit", 2},
           {"peer"},
           {"peer_ms", 3},
           {"ratio", 2}}};
}

void add_rows(report::Table& table, const std::string& name, const Measurement& m) {
  const double fraction = m.limit_ms / m.ours_ms;
  for (const auto& p : m.peers) {
    table.add({name, m.what, m.ours_ms, m.limit_ms, fraction, p.name, p.ms, p.ms / m.ours_ms});
  }
  if (m.peers.empty()) table.add({name, m.what, m.ours_ms, m.limit_ms, fraction, {}, {}, {}});
}

}  // namespace kvsplice::bench
