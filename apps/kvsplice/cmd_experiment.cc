// kvsplice experiment NAME [--quick] [-m M.gguf] -o DIR
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "command.h"
#include "experiments/experiment.h"
#include "terminal.h"

namespace kvsplice::app {

namespace {

using experiment::Experiment;

struct Arguments {
  const Experiment* chosen = nullptr;
  std::string out, model;
  bool quick = false;
  std::map<std::string, std::string> given;  // values of the experiment's own options, by key
};

Result<> run(const Arguments& a) {
  const KeyValues pairs(a.given.begin(), a.given.end());
  KVS_TRY(a.chosen->check(pairs));
  KVS_ASSIGN(auto results, report::Results::create(a.out, "experiment", command_line()));
  KVS_TRY(report::check_drawing());
  if (!a.model.empty()) KVS_TRY(results.add_input(a.model));
  results.note("experiment", a.chosen->name);
  results.note("quick", a.quick ? "yes" : "no");
  const experiment::Setting setting{results, a.quick, a.model, terminal_progress()};
  KVS_TRY(a.chosen->run(pairs, setting));
  KVS_TRY(results.finish());
  end_progress();
  fmt::print("results in {}\n", a.out);
  return {};
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
