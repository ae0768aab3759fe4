// kvsplice pack: a llama.cpp state, or the cache of a text, as session.kvz.
#include <fmt/format.h>

#include "command.h"
#include "core/file.h"
#include "core/threads.h"
#include "loaded_coder.h"
#include "number_option.h"
#include "session/state_rows.h"
#include "stopwatch.h"
#include "terminal.h"

namespace kvsplice::app {

namespace {

struct PackArguments {
  std::string state, model, text, codec, out;
  size_t tokens = 0;
  bool lossless = false;
  session::PackOptions options;
  int threads = 0;
};

Result<> check(const PackArguments& a) {
  if (a.state.empty() == a.text.empty()) {
    return Error{ErrorKind::usage, "give either a llama.cpp state or a text (-f)"};
  }
  if (!a.text.empty() && a.model.empty()) {
    return Error{ErrorKind::usage, "a text needs a model (-m) to evaluate it"};
  }
  if (!a.lossless && a.codec.empty()) {
    return Error{ErrorKind::usage, "give a codec (--codec), --lossless, or both"};
  }
  return {};
}

Result<session::StateCells> read_cells(const PackArguments& a, const LoadedCoder& loaded) {
  if (!a.text.empty()) {
    KVS_ASSIGN(session::Cells cells,
               evaluate_text(*loaded.model, a.text, a.tokens, a.threads, terminal_progress()));
    return session::StateCells{std::move(cells), {}};
  }
  KVS_ASSIGN(const Bytes bytes, read_file(a.state));
  auto cells = [&]() -> Result<session::StateCells> {
    KVS_ASSIGN(const session::StateBlob blob, session::parse_state(bytes));
    return session::to_cells(blob, loaded.coder().shape, blob.tokens);
  }();
  if (!cells.ok()) return Error{cells.error().kind, a.state + ": " + cells.error().message};
  return cells;
}

Result<> run(const PackArguments& a) {
  KVS_TRY(check(a));
  if (a.threads > 0) set_thread_count(a.threads);
  KVS_ASSIGN(const auto loaded, LoadedCoder::load(a.model, a.codec, a.lossless));
  const Stopwatch reading;
  KVS_ASSIGN(const session::StateCells made, read_cells(a, *loaded));
  const double read_seconds = reading.seconds();
  const Stopwatch packing;
  KVS_TRY(session::pack(a.out, made.cells, made.pending, loaded->coder(), a.options,
                        terminal_progress()));
  const double pack_seconds = packing.seconds();
  end_progress();
  KVS_ASSIGN(const auto reader, session::SessionReader::open(a.out));
  const size_t n = made.cells.count();
  fmt::print("{}: {}\n{} in {:.2f} s ({:.0f} tokens/s), packed in {:.2f} s ({:.0f}/s)\n", a.out,
             describe_size(reader), a.text.empty() ? "read" : "evaluated", read_seconds,
             rate(n, read_seconds), pack_seconds, rate(n, pack_seconds));
  return {};
}

}  // namespace

Command pack_command();

Command pack_command() {
  return {"pack", "write a compressed session from a llama.cpp state or a text",
          [](CLI::App& app) -> std::function<Result<>()> {
            auto a = std::make_shared<PackArguments>();
            app.add_option("state", a->state,
                           "session or sequence file of llama.cpp, cache type f16, f32 or q8_0");
            app.add_option("-f,--file", a->text, "text to evaluate instead");
            add_number(app, "-n,--tokens", a->tokens, kTokens, "first tokens of the text; 0: all");
            app.add_option("-m,--model", a->model, "model, GGUF");
            app.add_option("--codec", a->codec, "codec of that model");
            app.add_flag("--lossless", a->lossless,
                         "keep every cell to the bit, alone or by a codec of 'exact'");
            app.add_option("-o,--out", a->out, "session to write")->required();
            add_number(app, "--sinks", a->options.sinks, kTokens, "first tokens, kept exact");
            add_number(app, "--window", a->options.window, kTokens, "newest tokens, kept exact");
            add_number(app, "--block", a->options.block_tokens, {1, 4096},
                       "tokens of a block (default: 256, or what rows of the codec recall)");
            add_threads(app, a->threads);
            return [a] { return run(*a); };
          }};
}

}  // namespace kvsplice::app
