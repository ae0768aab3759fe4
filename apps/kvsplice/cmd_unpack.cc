// kvsplice unpack: session.kvz as a state llama.cpp loads.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "command.h"
#include "core/file.h"
#include "core/stopwatch.h"
#include "core/threads.h"
#include "host/session_state.h"
#include "loaded_coder.h"
#include "model_options.h"
#include "number_option.h"
#include "terminal.h"

namespace kvsplice::app {

namespace {

struct UnpackArguments {
  std::string session, model, codec, out, like;
  std::string form = "sequence", type = "f16", flash_attention = "on";
  size_t tokens = 0;
  uint32_t streams = 1;
  std::optional<uint32_t> version;
  bool no_rotation = false;
  host::ModelOptions host;
  int threads = 0;
};

Result<host::CellType> parse_type(const std::string& text) {
  for (const auto type : {host::CellType::f16, host::CellType::f32, host::CellType::q8_0}) {
    if (text == name(type)) return type;
  }
  return Error{ErrorKind::usage,
               fmt::format("--type '{}'; legal: f16, f32, q8_0, or two of them for keys and "
                           "values, as in q8_0,f16",
                           text)};
}

Result<host::StateVersion> version_of(uint32_t number, host::StateForm form) {
  std::vector<uint32_t> legal;
  for (const host::StateVersion& version : host::kStateVersions) {
    legal.push_back(form == host::StateForm::session_file ? version.session : version.sequence);
    if (legal.back() == number) return version;
  }
  return Error{ErrorKind::usage, fmt::format("--state-version {} of a {}; legal: {}", number,
                                             name(form), fmt::join(legal, ", "))};
}

Result<host::StateTarget> described_target(const UnpackArguments& a, const ModelShape& shape) {
  host::StateTarget target;
  if (a.form == "session") target.form = host::StateForm::session_file;
  const size_t comma = a.type.find(',');
  KVS_ASSIGN(target.key_type, parse_type(a.type.substr(0, comma)));
  KVS_ASSIGN(target.value_type,
             parse_type(comma == a.type.npos ? a.type : a.type.substr(comma + 1)));
  target.values_transposed = a.flash_attention == "off";
  if (a.version) {
    KVS_ASSIGN(target.version, version_of(*a.version, target.form));
  }
  target.streams = a.streams;
  if (!a.no_rotation) return target;
  if (!is_quantised(target.key_type) && !is_quantised(target.value_type)) {
    return Error{ErrorKind::usage, "--no-rotation: only heads of q8_0 (--type) are turned"};
  }
  target.turns.resize(shape.layers.size());
  return target;
}

Result<host::StateTarget> target_of(const UnpackArguments& a, const ModelShape& shape) {
  if (a.like.empty()) return described_target(a, shape);
  KVS_ASSIGN(const Bytes bytes, read_file(a.like));
  auto target = [&]() -> Result<host::StateTarget> {
    KVS_ASSIGN(const host::StateBlob blob, host::parse_state(bytes, host::hints_of(shape)));
    return host::target_like(blob, shape);
  }();
  if (!target.ok()) return Error{target.error().kind, a.like + ": " + target.error().message};
  return target;
}

std::string describe_types(const host::StateTarget& target) {
  std::string text = name(target.key_type);
  if (target.value_type != target.key_type) text += fmt::format(" and {}", name(target.value_type));
  return text + (target.values_transposed ? ", values transposed" : "");
}

// How much of a session goes into the state.
struct Part {
  size_t tokens = 0;  // that have cells in the session
  std::vector<int32_t> pending;
  host::StateExtent extent;
};

Result<Part> part_of(const UnpackArguments& a, const session::Session& session,
                     host::StateForm form) {
  const std::vector<int32_t>& pending = session.file().index().pending;
  const size_t most = host::extent_of_state(form, session.size(), pending.size()).tokens;
  const size_t all = std::max(most, session.size());
  const size_t wanted = a.tokens > 0 ? a.tokens : all;
  if (wanted > all) {
    return Error{ErrorKind::usage, fmt::format("{} of a session of {} has {} tokens, {} are wanted",
                                               name(form), session.size(), all, wanted)};
  }
  Part part;
  part.tokens = std::min(wanted, session.size());
  part.pending.assign(pending.begin(),
                      pending.begin() + static_cast<ptrdiff_t>(wanted - part.tokens));
  part.extent = host::extent_of_state(form, part.tokens, part.pending.size());
  return part;
}

Result<> run(const UnpackArguments& a) {
  KVS_ASSIGN(OutputFile out, OutputFile::reserve(a.out, Readers::owner));
  if (a.threads > 0) set_thread_count(a.threads);
  KVS_ASSIGN(const auto loaded, LoadedCoder::load(a.model, a.codec, false, {}, a.host));
  const ModelShape& shape = loaded->coder().shape;
  KVS_ASSIGN(const host::StateTarget target, target_of(a, shape));
  const Stopwatch watch;
  KVS_ASSIGN(const auto session, session::Session::open(a.session, loaded->coder()));
  KVS_ASSIGN(const Part part, part_of(a, session, target.form));
  KVS_ASSIGN(const host::SessionState state,
             host::to_state(session, part.tokens, part.pending, shape, target, false,
                            terminal_progress()));
  const double seconds = watch.seconds();
  KVS_TRY(write_file(std::move(out), state.bytes));
  end_progress();
  FILE* const says = summary_stream(a.out);
  fmt::print(says,
             "{}: {} of {} tokens and {} cells, {} cache, {:.3f} MB\nrestored in {:.2f} s ({:.0f} "
             "tokens/s)\n",
             a.out, name(target.form), part.extent.tokens, part.extent.cells,
             describe_types(target), double(state.bytes.size()) / 1e6, seconds,
             rate(part.extent.cells, seconds));
  const size_t all = session.size() + session.file().index().pending.size();
  if (a.tokens == 0 && part.extent.tokens < all) {
    fmt::print(says, "{} pending tokens are left out: {}\n", all - part.extent.tokens,
               target.form == host::StateForm::session_file
                   ? "a session lists one token more than it has cells"
                   : "a sequence lists what its cache holds");
  }
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
            add_context_option(app, a->host);
            std::vector<CLI::Option*> of_target = {
                app.add_option("--form", a->form,
                               "sequence (llama-server, llama_state_seq_load_file) or session "
                               "(llama-completion, llama_state_load_file)")
                    ->check(CLI::IsMember({"sequence", "session"}))
                    ->capture_default_str(),
                app.add_option("--type", a->type,
                               "type of the cache it is for: f16, f32, q8_0, or KEYS,VALUES")
                    ->capture_default_str(),
                app.add_option("--flash-attention", a->flash_attention,
                               "of the program it is for; off: values are transposed")
                    ->check(CLI::IsMember({"on", "off"}))
                    ->capture_default_str(),
                add_number(app, "--streams", a->streams, {1, host::kMostStreams},
                           "N for llama-server -np N; 1 for -np 1, --kv-unified or no -np"),
                add_number(app, "--state-version", a->version, {1, 100},
                           "sequence 3 or 4, session 10 or 11 (default: what the llama.cpp in "
                           "this program writes)"),
                app.add_flag("--no-rotation", a->no_rotation,
                             "the heads of the q8_0 cache it is for are not turned "
                             "(LLAMA_ATTN_ROT_DISABLE)")};
            CLI::Option* like =
                app.add_option("--like", a->like,
                               "a state saved by the program it is for, instead of these options");
            for (CLI::Option* option : of_target) like->excludes(option);
            add_threads(app, a->threads);
            return [a] { return run(*a); };
          }};
}

}  // namespace kvsplice::app
