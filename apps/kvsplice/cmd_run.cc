// kvsplice run: generates text, from a saved session if there is one, and saves the session.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <filesystem>

#include "command.h"
#include "core/file.h"
#include "core/threads.h"
#include "host/sampler.h"
#include "loaded_coder.h"
#include "session/state_rows.h"
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

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count();
  }

 private:
  std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
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
  if (!a.save.empty() && a.lossless == !a.codec.empty()) {
    return Error{ErrorKind::usage, "to save, give either a codec (--codec) or --lossless"};
  }
  return {};
}

// One conversation: a context, and the tokens that are or will be in it.
class Generation {
 public:
  Generation(const RunArguments& a, const LoadedCoder& loaded) : a_(a), loaded_(loaded) {}

  Result<> begin();
  Result<> load();
  Result<> add_prompt();
  Result<> evaluate_waiting();
  Result<> generate();
  Result<> save() const;
  void report() const;

 private:
  const host::Model& model() const { return *loaded_.model; }

  const RunArguments& a_;
  const LoadedCoder& loaded_;
  std::optional<host::Context> context_;
  std::vector<host::Token> tokens_;  // in the context, then those that wait to be evaluated
  size_t limit_ = 0;                 // of the context
  size_t loaded_tokens_ = 0, prompt_tokens_ = 0, generated_ = 0;
  double load_seconds_ = 0, prompt_seconds_ = 0, generate_seconds_ = 0;
};

Result<> Generation::begin() {
  constexpr int kUsualContext = 4096;
  host::ContextOptions options;
  options.n_ctx = a_.ctx > 0 ? a_.ctx : std::min(kUsualContext, model().context_limit());
  options.threads = a_.threads;
  limit_ = static_cast<size_t>(options.n_ctx);
  KVS_ASSIGN(options.cache, host::parse_cache_type(a_.cache));
  KVS_ASSIGN(context_, host::Context::create(model(), options));
  return {};
}

Result<> Generation::load() {
  if (a_.load.empty()) return {};
  const Stopwatch watch;
  KVS_ASSIGN(const auto session, session::Session::open(a_.load, loaded_.coder()));
  KVS_ASSIGN(const session::Cells cells, session.read(0, session.size(), terminal_progress()));
  const auto type = a_.cache == "f16" ? session::CellType::f16 : session::CellType::q8_0;
  KVS_ASSIGN(const Bytes state, session::to_state(cells, {}, model().shape(),
                                                  session::StateForm::sequence_data, type));
  KVS_TRY(context_->load_state(state));
  tokens_ = cells.tokens;
  const auto& pending = session.file().index().pending;
  tokens_.insert(tokens_.end(), pending.begin(), pending.end());
  loaded_tokens_ = cells.count();
  load_seconds_ = watch.seconds();
  return {};
}

Result<> Generation::add_prompt() {
  std::string text = a_.prompt;
  if (!a_.prompt_file.empty()) {
    KVS_ASSIGN(text, read_text(a_.prompt_file));
  }
  KVS_ASSIGN(std::vector<host::Token> prompt, model().tokenize(text));
  const bool continues = !tokens_.empty();
  if (continues && model().adds_bos() && !prompt.empty()) prompt.erase(prompt.begin());
  tokens_.insert(tokens_.end(), prompt.begin(), prompt.end());
  if (!a_.quiet) fmt::print("{}", text);
  if (tokens_.empty())
    return Error{ErrorKind::usage, "there is nothing to continue: give a prompt"};
  return {};
}

// Evaluates what is not in the context yet; at least one token, whose logits come next.
Result<> Generation::evaluate_waiting() {
  const Stopwatch watch;
  if (context_->size() == tokens_.size()) KVS_TRY(context_->truncate(tokens_.size() - 1));
  constexpr size_t kPiece = 512;  // between two looks at Ctrl-C
  while (context_->size() < tokens_.size() && !interrupted()) {
    const size_t at = context_->size(), n = std::min(kPiece, tokens_.size() - at);
    KVS_TRY(context_->decode(std::span(tokens_).subspan(at, n), at + n == tokens_.size() ? 1 : 0));
    prompt_tokens_ += n;
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
    fmt::print("{}", model().piece(token));
    std::fflush(stdout);
    if (generated_ == a_.predict) break;  // the last token waits for the next run
    KVS_TRY(context_->decode(std::span(tokens_).last(1), 1));
  }
  fmt::print("\n");
  generate_seconds_ = watch.seconds();
  return {};
}

// Where the session was loaded from, its blocks are kept: coding them again would lose more.
Result<> Generation::save() const {
  if (a_.save.empty()) return {};
  const size_t n = context_->size();
  const session::Coder coder = loaded_.coder();
  const std::span<const host::Token> pending = std::span(tokens_).subspan(n);
  KVS_ASSIGN(const session::Cells cells, cells_of(*context_, model().shape(), tokens_));
  if (a_.load.empty() || !session::Session::open(a_.load, coder).ok()) {
    return session::pack(a_.save, cells, pending, coder, a_.pack, {});
  }
  if (a_.save != a_.load) {
    KVS_ASSIGN(const Bytes bytes, read_file(a_.load));
    KVS_TRY(write_file(a_.save, bytes));
  }
  if (n <= loaded_tokens_) return {};  // stopped before anything was added
  return session::extend(a_.save, slice(cells, loaded_tokens_, n - loaded_tokens_), pending, coder,
                         {});
}

void Generation::report() const {
  if (a_.quiet) return;
  const auto rate = [](size_t n, double s) { return s > 0 ? double(n) / s : 0.0; };
  if (!a_.load.empty()) {
    fmt::print(stderr, "restored {} tokens in {:.2f} s ({:.0f}/s)\n", loaded_tokens_, load_seconds_,
               rate(loaded_tokens_, load_seconds_));
  }
  fmt::print(stderr,
             "evaluated {} tokens in {:.2f} s ({:.0f}/s), generated {} in {:.2f} s ({:.1f}/s)\n",
             prompt_tokens_, prompt_seconds_, rate(prompt_tokens_, prompt_seconds_), generated_,
             generate_seconds_, rate(generated_, generate_seconds_));
  if (a_.save.empty()) return;
  if (const auto reader = session::SessionReader::open(a_.save); reader.ok()) {
    fmt::print(stderr, "saved {}: {}\n", a_.save, describe_size(*reader));
  }
}

Result<> run(const RunArguments& a) {
  KVS_TRY(check(a));
  if (a.threads > 0) set_thread_count(a.threads);
  KVS_ASSIGN(const auto loaded, LoadedCoder::load(a.model, a.codec));
  Generation generation(a, *loaded);
  KVS_TRY(generation.begin());
  KVS_TRY(generation.load());
  end_progress();
  catch_interrupts();
  KVS_TRY(generation.add_prompt());
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
                       "tokens of context (default: 4096 or what the model allows)");
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
