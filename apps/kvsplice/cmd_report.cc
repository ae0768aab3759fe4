// kvsplice report DIR... -o report.html
#include <fmt/format.h>

#include "command.h"
#include "report/results.h"

namespace kvsplice::app {

namespace {

struct Options {
  std::vector<std::filesystem::path> dirs;
  std::filesystem::path out = "report.html";
  std::string title = "KVSplice report";
};

Result<> run(const Options& options) {
  KVS_TRY(report::write_page(options.dirs, options.out, options.title));
  fmt::print("{}\n", options.out.string());
  return {};
}

}  // namespace

Command report_command() {
  return {"report", "one self-contained page from results directories", [](CLI::App& verb) {
            auto options = std::make_shared<Options>();
            verb.add_option("DIR", options->dirs, "results directories, in order of the page")
                ->required();
            verb.add_option("-o,--out", options->out, "the page")->capture_default_str();
            verb.add_option("--title", options->title, "its title")->capture_default_str();
            return [options] { return run(*options); };
          }};
}

}  // namespace kvsplice::app
