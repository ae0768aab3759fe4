// kvsplice unpack: session.kvz as a state llama.cpp loads.
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

struct UnpackArguments {
  std::string session, model, codec, out;
  std::string form = "sequence", type = "f16";
  size_t tokens = 0;
  int threads = 0;
};

session::CellType type_of(const std::string& name) {
  if (name == "f32") return session::CellType::f32;
  return name == "q8_0" ? session::CellType::q8_0 : session::CellType::f16;
}

Result<> run(const UnpackArguments& a) {
  if (a.threads > 0) set_thread_count(a.threads);
  KVS_ASSIGN(const auto loaded, LoadedCoder::load(a.model, a.codec));
  const Stopwatch watch;
  KVS_ASSIGN(const auto session, session::Session::open(a.session, loaded->coder()));
  const size_t n = a.tokens > 0 ? a.tokens : session.size();
  KVS_ASSIGN(const session::Cells cells, session.read(0, n, terminal_progress()));
  // Pending tokens follow the last cell only.
  const bool whole = n == session.size();
  const auto pending = whole ? session.file().index().pending : std::vector<int32_t>();
  const auto form =
      a.form == "session" ? session::StateForm::session_file : session::StateForm::sequence_file;
  KVS_ASSIGN(const Bytes state,
             session::to_state(cells, pending, loaded->coder().shape, form, type_of(a.type)));
  const double seconds = watch.seconds();
  KVS_TRY(write_file(a.out, state));
  end_progress();
  fmt::print("{}: {} of {} tokens, {} cache, {:.3f} MB\nrestored in {:.2f} s ({:.0f} tokens/s)\n",
             a.out, name(form), n, a.type, double(state.size()) / 1e6, seconds, rate(n, seconds));
  return {};
}

}  // namespace

Command unpack_command();

Command unpack_command() {
  return {"unpack", "write a session as a state file for llama.cpp",
          [](CLI::App& app) -> std::function<Result<>()> {
            auto a = std::make_shared<UnpackArguments>();
            app.add_option("session", a->session, "session.kvz")->required();
            app.add_option("-m,--model", a->model, "model, GGUF");
            app.add_option("--codec", a->codec, "the codec it was packed by");
            app.add_option("-o,--out", a->out, "state to write")->required();
            add_number(app, "-n,--tokens", a->tokens, kTokens, "first tokens only; 0: all");
            app.add_option("--form", a->form,
                           "sequence (llama_state_seq_load_file) or session "
                           "(llama_state_load_file)")
                ->check(CLI::IsMember({"sequence", "session"}))
                ->capture_default_str();
            app.add_option("--type", a->type, "type of the cache it is for")
                ->check(CLI::IsMember({"f16", "f32", "q8_0"}))
                ->capture_default_str();
            add_threads(app, a->threads);
            return [a] { return run(*a); };
          }};
}

}  // namespace kvsplice::app
