// kvsplice VERB ...: parses the command line, runs one verb, prints one line on error.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <map>

#include "command.h"
#include "core/version.h"
#include "host/log.h"
#include "launched.h"
#include "load_watch.h"
#include "solve/blas_core.h"
#include "terminal.h"

namespace {

using namespace kvsplice;

// What does not arrive on the error stream cannot be said anywhere.
int fail(const std::string& message, int code) {
  std::fputs(("kvsplice: " + app::rank_prefix() + message + "\n").c_str(), stderr);
  return code;
}

int fail(const Error& error) { return fail(error.message, error.kind == ErrorKind::usage ? 2 : 1); }

// CLI11 would only say that a verb is missing.
Result<> check_verb(int argc, char** argv) {
  if (argc > 1 && argv[1][0] == '-') return {};
  std::vector<std::string> known;
  for (const auto& command : app::command_table()) known.push_back(command.name);
  if (argc < 2) {
    return Error{ErrorKind::usage,
                 fmt::format("name a verb (or --help): {}", fmt::join(known, ", "))};
  }
  if (std::find(known.begin(), known.end(), argv[1]) != known.end()) return {};
  return Error{ErrorKind::usage, fmt::format("no verb is called '{}'; there are: {}", argv[1],
                                             fmt::join(known, ", "))};
}

// llama.cpp's short names of several letters, which CLI11 would read as several options.
std::vector<std::string> with_long_names(int argc, char** argv) {
  static const std::map<std::string, std::string> names = {
      {"-ngl", "--gpu-layers"},     {"-ub", "--ubatch-size"},    {"-fa", "--flash-attn"},
      {"-cnv", "--conversation"},   {"-sys", "--system-prompt"}, {"-np", "--parallel"},
      {"-kvu", "--kv-unified"},     {"-ctk", "--cache-type-k"},  {"-ctv", "--cache-type-v"},
      {"-tb", "--threads-batch"},   {"-cmoe", "--cpu-moe"},      {"-ncmoe", "--n-cpu-moe"},
      {"-ot", "--override-tensor"}, {"-dev", "--device"},        {"-mg", "--main-gpu"},
      {"-sm", "--split-mode"},      {"-ts", "--tensor-split"},   {"-mm", "--mmproj"},
      {"-md", "--model-draft"},     {"-mu", "--model-url"},      {"-hf", "--hf-repo"}};
  std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  for (std::string& argument : arguments) {
    if (const auto known = names.find(argument); known != names.end()) argument = known->second;
  }
  return arguments;
}

int run(int argc, char** argv) {
  if (const auto verb = check_verb(argc, argv); !verb.ok()) return fail(verb.error());
  CLI::App app{"Measures, learns and deploys compression of LLM key-value caches (GGUF models).",
               "kvsplice"};
  app.set_version_flag("--version", fmt::format("{}\nOpenBLAS {}", version(), blas_core().text()));
  app.failure_message([](const CLI::App*, const CLI::Error& e) {
    return fmt::format("kvsplice: {} (--help shows what is legal)\n", e.what());
  });
  app.require_subcommand(1);
  app.footer("kvsplice VERB --help shows the options of a verb.");
  std::map<CLI::App*, std::function<Result<>()>> actions;
  for (const auto& command : app::command_table()) {
    CLI::App* verb = app.add_subcommand(command.name, command.summary);
    actions[verb] = command.declare(*verb);
  }
  try {
    std::vector<std::string> arguments = with_long_names(argc, argv);
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& e) {
    const int code = app.exit(e);
    return code == 0 ? 0 : 2;
  }
  const Result<> done = actions.at(app.get_subcommands().front())();
  app::end_progress();
  return done.ok() ? 0 : fail(done.error());
}

int run_safely(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::bad_alloc&) {
    return fail("out of memory", 1);
  } catch (const std::exception& e) {
    return fail(e.what(), 1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  app::libraries_are_loaded();
  app::keep_standard_streams();
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on the size of files is an error of the write
  if (const auto corrected = correct_blas_core(argv); !corrected.ok()) {
    fail(corrected.error().message, 1);
  }
  // Rows come and go in blocks of the same large sizes: kept, they need no fresh pages each time.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the most that glibc takes
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  app::remember_command_line(argc, argv);
  host::when_llama_gives_up([](const char* reason) { ::_exit(fail(reason, 1)); });
  const int code = run_safely(argc, argv);
  const auto arrived = app::check_output();
  if (app::stop_signal() != 0) return 128 + app::stop_signal();  // as the shell says it
  return code == 0 && !arrived.ok() ? fail(arrived.error()) : code;
}
