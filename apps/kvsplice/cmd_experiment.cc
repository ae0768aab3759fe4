// kvsplice experiment NAME [--quick] [-m M.gguf] -o DIR
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "command.h"
#include "experiments/experiment.h"
#include "launched.h"
#include "terminal.h"

namespace kvsplice::app {

namespace {

using experiment::Experiment;

struct Arguments {
  const Experiment* chosen = nullptr;
  std::string out, model;
  bool quick = false;
  std::map<std::string, std::string> given;  // values of the experiment's own options, by key

  KeyValues pairs() const { return {given.begin(), given.end()}; }
};

Result<report::Results> begin_results(const Arguments& a, const std::string& started) {
  KVS_ASSIGN(auto results, report::Results::create(a.out, "experiment", command_line(), started));
  if (!a.model.empty()) KVS_TRY(results.add_input(a.model));
  results.note("experiment", a.chosen->name);
  results.note("quick", a.quick ? "yes" : "no");
  return results;
}

Result<> finish(const experiment::Write& write, report::Results results, const std::string& out) {
  KVS_TRY(write(results));
  KVS_TRY(results.finish());
  end_progress();
  fmt::print("results in {}\n", out);
  return {};
}

// The results are reserved before the work, and other programs kept out.
Result<> run_alone(const Arguments& a, experiment::Setting setting) {
  KVS_ASSIGN(auto results, begin_results(a, report::utc_now()));
  KVS_TRY(report::check_drawing());
  KVS_ASSIGN(const auto write, a.chosen->measure(a.pairs(), setting));
  return finish(write, std::move(results), a.out);
}

// All measure, one writes.
Result<> run_in_team(const Arguments& a, experiment::Setting setting) {
  const std::string started = report::utc_now();
  KVS_TRY(report::make_folder(a.out));
  KVS_TRY(report::check_drawing());
  const TeamOutput manifest((setting.dir / "manifest.json").string());
  KVS_ASSIGN(const auto write, a.chosen->measure(a.pairs(), setting));
  const auto finish_it = [&]() -> Result<> {
    KVS_ASSIGN(auto results, begin_results(a, started));
    return finish(write, std::move(results), a.out);
  };
  KVS_TRY(manifest.write(setting.team, finish_it, setting.progress));
  end_progress();
  fmt::print("{}did {} jobs\n", rank_prefix(), setting.team.jobs_done_here());
  return {};
}

Result<> run(const Arguments& a) {
  KVS_TRY(a.chosen->check(a.pairs()));
  KVS_ASSIGN(const sweep::Team team, launched_team());
  const experiment::Setting setting{a.out, a.quick, a.model, team, terminal_progress()};
  return team.is_alone() ? run_alone(a, setting) : run_in_team(a, setting);
}

void declare(CLI::App& app, const Experiment& experiment, const std::shared_ptr<Arguments>& a) {
  CLI::App* sub = app.add_subcommand(experiment.name, experiment.summary);
  sub->callback([a, &experiment] { a->chosen = &experiment; });
  sub->add_option("-o,--out", a->out, "directory for the results")->required();
  sub->add_option("-m,--model", a->model, "model, GGUF, for the parts on real caches");
  sub->add_flag("--quick", a->quick, "less training, done in seconds");
  for (const ParamInfo& p : experiment.params) {
    std::string option = "--" + p.name;
    std::replace(option.begin(), option.end(), '_', '-');
    if (p.allowed == "no, yes") {  // needs no value
      const auto take = [a, name = p.name](int64_t) { a->given[name] = "yes"; };
      sub->add_flag_function(option, take, p.help);
      continue;
    }
    const auto take = [a, name = p.name](const std::string& value) { a->given[name] = value; };
    sub->add_option_function<std::string>(option, take, p.help)
        ->type_name(p.type + " (" + p.allowed + ")")
        ->default_str(p.default_value);
  }
}

}  // namespace

Command experiment_command();

Command experiment_command() {
  return {"experiment", "runs a whole study: tables, figures, findings",
          [](CLI::App& app) -> std::function<Result<>()> {
            auto a = std::make_shared<Arguments>();
            app.require_subcommand(1);
            for (const Experiment& e : experiment::experiment_table()) declare(app, e, a);
            return [a] { return run(*a); };
          }};
}

}  // namespace kvsplice::app
