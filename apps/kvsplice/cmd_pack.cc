// kvsplice pack: a llama.cpp state, the cache of a text or another session as session.kvz.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "command.h"
#include "core/file.h"
#include "core/stopwatch.h"
#include "core/threads.h"
#include "host/context_cells.h"
#include "loaded_coder.h"
#include "model_options.h"
#include "number_option.h"
#include "terminal.h"

namespace kvsplice::app {

namespace {

struct PackArguments {
  std::string state, model, text, codec, load_codec, out;
  std::string states = "exact";
  size_t tokens = 0, checkpoint = 0;
  bool lossless = false, no_rotation = false;
  session::PackOptions options;
  host::ModelOptions host;
  int threads = 0;
};

Result<> check(const PackArguments& a) {
  if (a.state.empty() == a.text.empty()) {
    return Error{ErrorKind::usage, "give either a llama.cpp state (or a session) or a text (-f)"};
  }
  if (!a.text.empty() && a.model.empty()) {
    return Error{ErrorKind::usage, "a text needs a model (-m) to evaluate it"};
  }
  if (!a.lossless && a.codec.empty()) {
    return Error{ErrorKind::usage, "give a codec (--codec), --lossless, or both"};
  }
  return {};
}

// What is packed, and what there is to say of it.
struct Input {
  KvView cells;
  std::vector<int32_t> pending;
  std::vector<session::RecurrentState> states;  // of hybrids
  std::vector<std::string> notes;

  // What the cells are in: a state, or what a session held.
  Bytes bytes;
  host::StateCells state;
  KvBlock<uint16_t> block;
};

Input input_of(host::StateCells state) {
  Input input;
  input.cells = state.cells;
  input.pending = state.pending;
  if (state.recurrent) input.states.push_back(*state.recurrent);
  input.state = std::move(state);
  return input;
}

Result<Input> read_text(const PackArguments& a, const LoadedCoder& loaded) {
  const TextToEvaluate text{a.text, a.tokens, a.checkpoint, a.threads};
  KVS_ASSIGN(Evaluated made, evaluate_text(*loaded.model, text, terminal_progress()));
  Input input = input_of(std::move(made.cells));
  input.pending.clear();
  input.states = std::move(made.states);
  return input;
}

Result<Input> read_session(const PackArguments& a, const LoadedCoder& loaded) {
  KVS_ASSIGN(const auto session, session::Session::open(a.state, loaded.read_coder()));
  Input input;
  KVS_ASSIGN(input.block, session.read(0, session.size(), terminal_progress()));
  input.cells = input.block;
  input.pending = session.file().index().pending;
  for (const size_t position : session.file().state_positions()) {
    KVS_ASSIGN(auto state, session.state_at(position));
    input.states.push_back(std::move(state));
  }
  return input;
}

bool has_type(const host::StateBlob& blob, host::CellType type) {
  for (const host::StateCache& cache : blob.caches) {
    for (const auto* layers : {&cache.keys, &cache.values}) {
      for (const auto& rows : *layers) {
        if (rows.type == static_cast<int32_t>(type)) return true;
      }
    }
  }
  return false;
}

Result<> check_no_rotation(const host::StateBlob& blob) {
  if (blob.version.says_turns()) {
    return Error{ErrorKind::usage,
                 "--no-rotation: states of this version say how heads are turned"};
  }
  if (has_type(blob, host::CellType::q8_0)) return {};
  return Error{ErrorKind::usage, "--no-rotation: only q8_0 heads are turned, and there are none"};
}

Result<> note_f32(const PackArguments& a, const host::StateCells& made, Input& input) {
  if (made.rounded > 0 && a.lossless) {
    return Error{ErrorKind::unsupported,
                 fmt::format("{} is f32 and not f16, as are {} in all: cells are kept as f16, so "
                             "--lossless cannot keep them; use a codec, or a cache of type f16",
                             describe(*made.first_rounded), made.rounded)};
  }
  input.notes.push_back(
      made.rounded > 0
          ? fmt::format("f32 cells are kept as f16, which rounds {} values", made.rounded)
          : "f32 cells are kept as f16; all of them are f16 values");
  return {};
}

Result<Input> read_state(const PackArguments& a, const ModelShape& shape, Bytes bytes) {
  KVS_ASSIGN(const host::StateBlob blob, host::parse_state(bytes, host::hints_of(shape)));
  std::vector<host::Turns> turns;
  if (a.no_rotation) {
    KVS_TRY(check_no_rotation(blob));
    turns.resize(shape.layers.size());
  }
  KVS_ASSIGN(host::StateCells made, host::to_cells(blob, shape, blob.tokens, turns));
  if (made.cells.count() == 0) {
    return Error{ErrorKind::unsupported, "the state is empty: it has no cells"};
  }
  const bool rounds = has_type(blob, host::CellType::f32);
  Input input = input_of(std::move(made));
  input.bytes = std::move(bytes);
  if (rounds) KVS_TRY(note_f32(a, input.state, input));
  if (blob.bytes_behind > 0) {
    input.notes.push_back(fmt::format(
        "{} bytes behind the state are left out; llama.cpp ignores them, too", blob.bytes_behind));
  }
  return input;
}

// States behind the first n tokens, at which one must be.
Result<> shorten_states(size_t n, Input& input) {
  std::vector<size_t> positions;
  for (const auto& state : input.states) positions.push_back(state.position);
  std::erase_if(input.states, [&](const auto& state) { return state.position > n; });
  if (!input.states.empty() && input.states.back().position == n) return {};
  return session::no_state_behind(n, positions);
}

// The first n tokens.
Result<> shorten(size_t n, const ModelShape& shape, Input& input) {
  const size_t cells = input.cells.count(), all = cells + input.pending.size();
  if (n > all) {
    return Error{ErrorKind::usage, fmt::format("it has {} tokens, {} are wanted", all, n)};
  }
  input.pending.resize(n - std::min(n, cells));
  if (n >= cells) return {};
  if (shape.hybrid()) KVS_TRY(shorten_states(n, input));
  KVS_TRY(session::check_sight(input.cells.absent, n, shape));
  input.cells = input.cells.slice(0, n);
  return {};
}

Result<> check_numbers(const PackArguments& a, const ModelShape& shape, Input& input) {
  for (const auto& state : input.states) KVS_TRY(session::check_finite(state));
  const auto finite = session::check_finite(input.cells, shape);
  if (finite.ok()) return {};
  const std::string& met = finite.error().message;
  if (!a.codec.empty()) {
    return Error{finite.error().kind,
                 met + "; such cells can only be kept by --lossless without a codec"};
  }
  input.notes.push_back("warning: " + met + "; it is kept, but no text can be continued from it");
  return {};
}

// Rounding, other kernels and adapters leave a distance far below this; other weights or another
// rotary embedding one that is far above.
Result<> compare_with_model(const LoadedCoder& loaded, Input& input) {
  constexpr double kFar = 0.25;
  KVS_ASSIGN(const double distance, host::distance_from_model(input.cells, *loaded.model));
  if (!(distance > kFar)) return {};
  input.notes.push_back(fmt::format(
      "warning: the first layer's cells are not what the model makes of these tokens ({:.0f} % "
      "off): were they made by another model, in a longer context (--ctx), or with other options "
      "(--rope-freq-base, LLAMA_ATTN_ROT_DISABLE)?",
      100 * distance));
  return {};
}

Result<Input> read_file_named(const PackArguments& a, const LoadedCoder& loaded) {
  KVS_ASSIGN(Bytes bytes, read_file(a.state));
  const bool packed = session::header_length(bytes).ok();
  if (!packed && !a.load_codec.empty()) {
    return Error{ErrorKind::usage, "--load-codec is for sessions; this is none"};
  }
  if (packed && a.no_rotation) {
    return Error{ErrorKind::usage, "--no-rotation is for states; this is a session"};
  }
  KVS_ASSIGN(Input input, packed ? read_session(a, loaded)
                                 : read_state(a, loaded.coder().shape, std::move(bytes)));
  if (a.tokens > 0) KVS_TRY(shorten(a.tokens, loaded.coder().shape, input));
  KVS_TRY(check_numbers(a, loaded.coder().shape, input));
  if (!packed && loaded.model) KVS_TRY(compare_with_model(loaded, input));
  return input;
}

Result<Input> read_input(const PackArguments& a, const LoadedCoder& loaded) {
  if (!a.text.empty()) return read_text(a, loaded);
  auto input = read_file_named(a, loaded);
  if (input.ok() || input.error().message.find(a.state) != std::string::npos) return input;
  return Error{input.error().kind, a.state + ": " + input.error().message};
}

// A pipe or device cannot be looked at again.
Result<std::string> describe_packed(const std::string& path, size_t tokens) {
  std::error_code unknown;
  if (!std::filesystem::is_regular_file(path, unknown)) return fmt::format("{} tokens", tokens);
  KVS_ASSIGN(const auto reader, session::SessionReader::open(path));
  return describe_size(reader);
}

Result<> run(const PackArguments& a) {
  KVS_TRY(check(a));
  KVS_ASSIGN(const auto encoding, session::parse_state_encoding(a.states));
  KVS_ASSIGN(OutputFile out, OutputFile::reserve(a.out, Readers::owner));
  if (a.threads > 0) set_thread_count(a.threads);
  KVS_ASSIGN(const auto loaded,
             LoadedCoder::load(a.model, a.codec, a.lossless, a.load_codec, a.host));
  const Stopwatch reading;
  KVS_ASSIGN(const Input input, read_input(a, *loaded));
  const double read_seconds = reading.seconds();
  const Stopwatch packing;
  KVS_TRY(session::pack(std::move(out), input.cells, input.pending, loaded->coder(), a.options,
                        terminal_progress(), {.states = input.states, .encoding = encoding}));
  const double pack_seconds = packing.seconds();
  end_progress();
  FILE* const says = summary_stream(a.out);
  KVS_ASSIGN(const std::string size, describe_packed(a.out, input.cells.count()));
  const size_t n = input.cells.count();
  fmt::print(says, "{}: {}\n{} in {:.2f} s ({:.0f} tokens/s), packed in {:.2f} s ({:.0f}/s)\n",
             a.out, size, a.text.empty() ? "read" : "evaluated", read_seconds,
             rate(n, read_seconds), pack_seconds, rate(n, pack_seconds));
  for (const std::string& note : input.notes) fmt::print(says, "{}\n", note);
  return {};
}

}  // namespace

Command pack_command();

Command pack_command() {
  return {"pack", "write a compressed session from a llama.cpp state, a text or a session",
          [](CLI::App& app) -> std::function<Result<>()> {
            auto a = std::make_shared<PackArguments>();
            app.add_option("state", a->state,
                           "session or sequence file of llama.cpp, cache type f16, f32 or q8_0; "
                           "or a session.kvz to pack anew");
            CLI::Option* text = app.add_option("-f,--file", a->text, "text to evaluate instead");
            add_number(app, "-n,--tokens", a->tokens, kTokens, "first tokens only; 0: all");
            app.add_option("-m,--model", a->model, "model, GGUF");
            app.add_option("--codec", a->codec, "codec of that model");
            app.add_option("--load-codec", a->load_codec,
                           "the codec a session was packed by (default: --codec)");
            app.add_flag("--lossless", a->lossless,
                         "keep every cell to the bit, alone or by a codec of 'exact'");
            app.add_flag("--no-rotation", a->no_rotation,
                         "the heads of a q8_0 state were not turned (LLAMA_ATTN_ROT_DISABLE)");
            app.add_option("-o,--out", a->out, "session to write")->required();
            add_number(app, "--sinks", a->options.sinks, kTokens, "first tokens, kept exact");
            add_number(app, "--window", a->options.window, kTokens, "newest tokens, kept exact");
            add_number(app, "--block", a->options.block_tokens, {1, 4096},
                       "tokens of a block (default: 256, or what rows of the codec recall)");
            add_number(app, "--checkpoint", a->checkpoint, kTokens,
                       "of hybrid models: tokens from one stored recurrent state to the next; 0: "
                       "one at the end")
                ->needs(text);
            app.add_option(
                   "--state", a->states,
                   "how recurrent states are kept: exact, f16, which is half as much, or q8, a "
                   "quarter")
                ->capture_default_str();
            add_context_option(app, a->host);
            for (CLI::Option* option : add_model_options(app, a->host)) option->needs(text);
            add_threads(app, a->threads);
            return [a] { return run(*a); };
          }};
}

}  // namespace kvsplice::app
