// kvsplice run: generates text, from a saved session if there is one, and saves the session.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "command.h"
#include "core/file.h"
#include "core/threads.h"
#include "host/sampler.h"
#include "loaded_coder.h"
#include "session/state_rows.h"
#include "stopwatch.h"
#include "terminal.h"

namespace kvsplice::app {

namespace {

struct RunArguments {
  std::string model, prompt, prompt_file, load, save, codec;
  std::string cache = "f16";
  bool lossless = false, ignore_end = false, quiet = false;
  int ctx = 0;
  size_t predict = 128;
  session::PackOptions pack;
  host::SamplerOptions sampler;
  int threads = 0;
};

Result<> check(const RunArguments& a) {
  KVS_TRY(host::check(a.sampler));
  if (!a.prompt.empty() && !a.prompt_file.empty()) {
    return Error{ErrorKind::usage, "give a prompt (-p) or a file with one (-f), not both"};
  }
  if (a.cache != "f16" && a.cache != "q8_0") {
    return Error{ErrorKind::usage,
                 fmt::format("--cache {} is not handled here; legal: f16, q8_0", a.cache)};
  }
  if (!a.save.empty() && !a.lossless && a.codec.empty()) {
    return Error{ErrorKind::usage, "to save, give a codec (--codec), --lossless, or both"};
  }
  return {};
}

// One conversation: a context, and the tokens that are or will be in it.
class Generation {
 public:
  Generation(const RunArguments& a, const LoadedCoder& loaded) : a_(a), loaded_(loaded) {}

  Result<> read_prompt();
  Result<> begin();
  Result<> evaluate_waiting();
  Result<> generate();
  Result<> save();
  void report() const;

 private:
  const host::Model& model() const { return *loaded_.model; }
  Result<> open_context(size_t tokens);
  Result<> reserve();
  Result<> restore();

  const RunArguments& a_;
  const LoadedCoder& loaded_;
  std::optional<host::Context> context_;
  std::optional<session::Session> session_;  // the one loaded
  // What will be saved, held from the start: a session that goes on, or a new one.
  std::optional<session::SessionWriter> continued_;
  std::optional<OutputFile> fresh_;
  std::string echo_;  // the prompt as it is printed
  std::vector<host::Token> prompt_;
  std::vector<host::Token> tokens_;  // in the context, then those that wait to be evaluated
  size_t limit_ = 0;                 // of the context
  size_t loaded_tokens_ = 0, evaluated_ = 0, generated_ = 0;
  double load_seconds_ = 0, prompt_seconds_ = 0, generate_seconds_ = 0;
};

Result<> Generation::read_prompt() {
  std::string text = a_.prompt;
  if (!a_.prompt_file.empty()) {
    KVS_ASSIGN(text, read_text(a_.prompt_file));
  }
  KVS_ASSIGN(prompt_, model().tokenize(text));
  const bool continues = !a_.load.empty();
  if (continues && model().adds_bos() && !prompt_.empty()) prompt_.erase(prompt_.begin());
  if (text.empty() && !continues) {
    return Error{ErrorKind::usage, "there is nothing to continue: give a prompt (-p, -f)"};
  }
  if (!a_.quiet) echo_ = text;
  return {};
}

Result<> Generation::begin() {
  if (a_.load.empty()) {
    KVS_TRY(reserve());
    tokens_ = prompt_;
    return open_context(tokens_.size());
  }
  KVS_ASSIGN(session_, session::Session::open(a_.load, loaded_.coder()));
  KVS_TRY(reserve());
  const auto& pending = session_->file().index().pending;
  KVS_TRY(open_context(session_->size() + pending.size() + prompt_.size()));
  KVS_TRY(restore());
  tokens_.insert(tokens_.end(), pending.begin(), pending.end());
  tokens_.insert(tokens_.end(), prompt_.begin(), prompt_.end());
  if (!tokens_.empty()) return {};
  return Error{ErrorKind::usage, a_.load + " is empty: give a prompt (-p, -f)"};
}

// The blocks of the session that was loaded are kept if they are of the same codec: coding them
// again would lose more.
Result<> Generation::reserve() {
  if (a_.save.empty()) return {};
  const std::string codec = loaded_.codec ? loaded_.codec->fingerprint() : "";
  if (session_ && session_->file().info().codec == codec) {
    KVS_ASSIGN(continued_, session::SessionWriter::continue_at(a_.save, session_->file()));
    return {};
  }
  KVS_ASSIGN(fresh_, OutputFile::reserve(a_.save, Readers::owner));
  return {};
}

// With room for as many tokens and for those to come.
Result<> Generation::open_context(size_t tokens) {
  const auto most = static_cast<size_t>(model().context_limit());
  limit_ = a_.ctx > 0 ? static_cast<size_t>(a_.ctx) : std::min(tokens + a_.predict, most);
  if (tokens > limit_) {
    return Error{ErrorKind::usage,
                 fmt::format("session and prompt have {} tokens, the context {}; the model allows "
                             "{} (--ctx)",
                             tokens, limit_, most)};
  }
  host::ContextOptions options;
  options.n_ctx = static_cast<int>(limit_);
  options.threads = a_.threads;
  KVS_ASSIGN(options.cache, host::parse_cache_type(a_.cache));
  KVS_ASSIGN(context_, host::Context::create(model(), options));
  return {};
}

Result<> Generation::restore() {
  const Stopwatch watch;
  KVS_ASSIGN(const session::Cells cells, session_->read(0, session_->size(), terminal_progress()));
  const auto type = a_.cache == "f16" ? session::CellType::f16 : session::CellType::q8_0;
  KVS_ASSIGN(const Bytes state, session::to_state(cells, {}, model().shape(),
                                                  session::StateForm::sequence_data, type));
  KVS_TRY(context_->load_state(state));
  tokens_ = cells.tokens;
  loaded_tokens_ = cells.count();
  load_seconds_ = watch.seconds();
  return {};
}

// Evaluates what is not in the context yet; at least one token, whose logits come next.
Result<> Generation::evaluate_waiting() {
  put_out(echo_);
  const Stopwatch watch;
  if (context_->size() == tokens_.size()) KVS_TRY(context_->truncate(tokens_.size() - 1));
  constexpr size_t kPiece = 512;  // between two looks at Ctrl-C
  while (context_->size() < tokens_.size() && !interrupted()) {
    const size_t at = context_->size(), n = std::min(kPiece, tokens_.size() - at);
    KVS_TRY(context_->decode(std::span(tokens_).subspan(at, n), at + n == tokens_.size() ? 1 : 0));
    evaluated_ += n;
  }
  prompt_seconds_ = watch.seconds();
  return {};
}

Result<> Generation::generate() {
  const Stopwatch watch;
  host::Sampler sampler(a_.sampler);
  while (generated_ < a_.predict && tokens_.size() < limit_ && !interrupted()) {
    const host::Token token = sampler.sample(context_->logits(0), tokens_);
    if (model().ends_generation(token) && !a_.ignore_end) break;
    tokens_.push_back(token);
    ++generated_;
    put_out(model().piece(token));
    if (generated_ == a_.predict) break;  // the last token waits for the next run
    KVS_TRY(context_->decode(std::span(tokens_).last(1), 1));
  }
  put_out("\n");
  generate_seconds_ = watch.seconds();
  return {};
}

Result<> Generation::save() {
  if (a_.save.empty()) return {};
  const ModelShape& shape = model().shape();
  const session::Coder coder = loaded_.coder();
  KVS_ASSIGN(const session::Cells cells, cells_of(*context_, shape, tokens_));
  const size_t n = cells.count();
  if (!continued_) {
    return session::pack(std::move(*fresh_), cells, std::span(tokens_).subspan(n), coder, a_.pack,
                         {});
  }
  const session::Cells more = n > loaded_tokens_ ? slice(cells, loaded_tokens_, n - loaded_tokens_)
                                                 : session::make_cells(shape, loaded_tokens_, 0);
  const auto pending = std::span(tokens_).subspan(std::max(n, loaded_tokens_));
  return session::extend(std::move(*continued_), *session_, more, pending, coder, {});
}

void Generation::report() const {
  if (a_.quiet) return;
  if (!a_.load.empty()) {
    fmt::print(stderr, "restored {} tokens in {:.2f} s ({:.0f}/s)\n", loaded_tokens_, load_seconds_,
               rate(loaded_tokens_, load_seconds_));
  }
  fmt::print(stderr,
             "evaluated {} tokens in {:.2f} s ({:.0f}/s), generated {} in {:.2f} s ({:.1f}/s)\n",
             evaluated_, prompt_seconds_, rate(evaluated_, prompt_seconds_), generated_,
             generate_seconds_, rate(generated_, generate_seconds_));
  if (a_.save.empty()) return;
  if (const auto reader = session::SessionReader::open(a_.save); reader.ok()) {
    fmt::print(stderr, "saved {}: {}\n", a_.save, describe_size(*reader));
  }
}

Result<> run(const RunArguments& a) {
  KVS_TRY(check(a));
  if (a.threads > 0) set_thread_count(a.threads);
  KVS_ASSIGN(const auto loaded, LoadedCoder::load(a.model, a.codec, a.lossless));
  Generation generation(a, *loaded);
  KVS_TRY(generation.read_prompt());
  KVS_TRY(generation.begin());
  end_progress();
  catch_interrupts();
  KVS_TRY(generation.evaluate_waiting());
  if (!interrupted()) KVS_TRY(generation.generate());
  KVS_TRY(generation.save());
  generation.report();
  return {};
}

}  // namespace

Command run_command();

Command run_command() {
  return {
      "run", "generate text, from and into saved sessions",
      [](CLI::App& app) -> std::function<Result<>()> {
        auto a = std::make_shared<RunArguments>();
        app.add_option("-m,--model", a->model, "model, GGUF")->required();
        app.add_option("-p,--prompt", a->prompt, "text to continue");
        app.add_option("-f,--file", a->prompt_file, "file with the text to continue");
        app.add_option("-n,--predict", a->predict, "most tokens to generate")
            ->capture_default_str();
        app.add_option("--ctx", a->ctx,
                       "tokens of context (default: what is needed, if the model allows it)");
        app.add_option("--cache", a->cache, "type of llama.cpp's cache: f16, q8_0")
            ->capture_default_str();
        app.add_option("--load", a->load, "session to continue");
        app.add_option("--save", a->save, "session to write; may be the one loaded");
        app.add_option("--codec", a->codec, "codec of the sessions");
        app.add_flag("--lossless", a->lossless, "save without loss");
        app.add_option("--sinks", a->pack.sinks, "first tokens a new session keeps exact")
            ->capture_default_str();
        app.add_option("--window", a->pack.window, "newest tokens a new session keeps exact")
            ->capture_default_str();
        app.add_option("--temp", a->sampler.temperature, "temperature; 0: always the likeliest")
            ->capture_default_str();
        app.add_option("--top-k", a->sampler.top_k, "keep the likeliest; 0: all")
            ->capture_default_str();
        app.add_option("--top-p", a->sampler.top_p, "keep the likeliest up to this probability")
            ->capture_default_str();
        app.add_option("--min-p", a->sampler.min_p, "keep this share of the likeliest's")
            ->capture_default_str();
        app.add_option("--repeat-penalty", a->sampler.repeat_penalty, "1: none")
            ->capture_default_str();
        app.add_option("--repeat-last", a->sampler.repeat_last, "tokens the penalty looks at")
            ->capture_default_str();
        app.add_option("--seed", a->sampler.seed, "of the random choices")->capture_default_str();
        app.add_flag("--ignore-end", a->ignore_end, "go on behind the end of a text");
        app.add_flag("--quiet", a->quiet, "print only what is generated");
        app.add_option("--threads", a->threads, "threads (default: all)");
        return [a] { return run(*a); };
      }};
}

}  // namespace kvsplice::app
