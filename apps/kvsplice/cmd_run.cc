// kvsplice run: generates text, from a saved session if there is one, and saves the session.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "command.h"
#include "core/file.h"
#include "core/stopwatch.h"
#include "core/threads.h"
#include "host/context_cells.h"
#include "host/sampler.h"
#include "host/texts.h"
#include "loaded_coder.h"
#include "model_options.h"
#include "number_option.h"
#include "terminal.h"

namespace kvsplice::app {

namespace {

struct RunArguments {
  std::string model, prompt, prompt_file, load, load_codec, save, codec;
  std::string cache = "f16", states = "exact";
  bool lossless = false, ignore_end = false, quiet = false, no_special = false;
  std::optional<size_t> ctx;
  size_t checkpoint = 0;
  int64_t predict = 128;  // -1: as many as the context holds
  session::PackOptions pack;
  host::ModelOptions host;
  host::SamplerOptions sampler;
  int threads = 0;
};

bool is_live(const RunArguments& a) { return a.cache != "f16" && a.cache != "q8_0"; }

Result<> check_cache(const RunArguments& a) {
  if (!is_live(a)) return {};
  std::error_code unknown;
  if (!std::filesystem::is_regular_file(a.cache, unknown)) {
    return Error{ErrorKind::usage,
                 fmt::format("--cache {} is not handled here; legal: f16, q8_0, or the file of a "
                             "live codec",
                             a.cache)};
  }
  if (a.load.empty() && a.save.empty()) return {};
  return Error{ErrorKind::usage, "a live cache can neither be loaded from a session yet nor saved"};
}

Result<> check(const RunArguments& a) {
  KVS_TRY(host::check(a.sampler));
  if (!a.prompt.empty() && !a.prompt_file.empty()) {
    return Error{ErrorKind::usage, "give a prompt (-p) or a file with one (-f), not both"};
  }
  KVS_TRY(check_cache(a));
  if (!a.save.empty() && !a.lossless && a.codec.empty()) {
    return Error{ErrorKind::usage, "to save, give a codec (--codec), --lossless, or both"};
  }
  if (!a.load_codec.empty() && a.load.empty()) {
    return Error{ErrorKind::usage, "--load-codec is the codec of a session to --load"};
  }
  return {};
}

// With --lossless, a codec that loses can only be that of the session loaded.
Result<> sort_codecs(RunArguments& a) {
  if (!a.lossless || a.codec.empty() || a.load.empty() || !a.load_codec.empty()) return {};
  KVS_ASSIGN(const auto codec, codec::Codec::load(a.codec));
  if (!codec.of_cells()) std::swap(a.codec, a.load_codec);
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
  Result<> add_tokens();
  Result<> write_session();
  const host::Model& model() const { return *loaded_.model; }
  size_t most_new() const {  // tokens to generate
    return a_.predict < 0 ? size_t(model().context_limit()) : size_t(a_.predict);
  }
  Result<> load_session();
  Result<> open_context(size_t tokens);
  Result<> reserve();
  Result<> restore();
  Result<> store_checkpoint();
  Result<> carry_states_over();
  bool stays(size_t position) const {  // of a state, when the text goes on behind it
    return a_.checkpoint > 0 && position % a_.checkpoint == 0;
  }

  const RunArguments& a_;
  const LoadedCoder& loaded_;
  std::optional<host::Context> context_;
  std::optional<codec::Codec> load_codec_;   // if it is another than that to save by
  std::optional<session::Session> session_;  // the one loaded
  // What will be saved, held from the start: a session that goes on, or a new one.
  std::optional<session::SessionWriter> continued_;
  std::optional<OutputFile> fresh_;
  std::vector<session::RecurrentState> states_;  // to be saved
  session::StateEncoding encoding_ = session::StateEncoding::exact;
  std::string echo_;  // the prompt as it is printed
  std::vector<host::Token> prompt_;
  std::vector<host::Token> tokens_;  // in the context, then those that wait to be evaluated
  size_t limit_ = 0;                 // of the context
  size_t loaded_tokens_ = 0, evaluated_ = 0, generated_ = 0;
  double load_seconds_ = 0, prompt_seconds_ = 0, generate_seconds_ = 0;
  std::string saved_;  // how large it is
};

Result<> Generation::read_prompt() {
  std::string text = a_.prompt;
  if (!a_.prompt_file.empty()) {
    KVS_ASSIGN(text, read_text(a_.prompt_file));
  }
  const bool continues = !a_.load.empty();
  if (text.empty() && !continues) {
    return Error{ErrorKind::usage, "there is nothing to continue: give a prompt (-p, -f)"};
  }
  // One more than any context holds is enough to say that it is too long.
  KVS_ASSIGN(prompt_, host::tokenize(model(), text,
                                     {.begins = !continues,
                                      .markers = !a_.no_special,
                                      .most = size_t(model().context_limit()) + 1}));
  if (!a_.quiet) echo_ = text;
  return {};
}

Result<> Generation::begin() {
  KVS_ASSIGN(encoding_, session::parse_state_encoding(a_.states));
  if (a_.load.empty()) {
    KVS_TRY(reserve());
    tokens_ = prompt_;
    return open_context(tokens_.size());
  }
  KVS_TRY(load_session());
  KVS_TRY(reserve());
  const auto& pending = session_->file().index().pending;
  if (model().shape().hybrid() && pending.empty() && prompt_.empty()) {
    return Error{ErrorKind::usage,
                 a_.load +
                     " has no token left to evaluate, and a hybrid model cannot evaluate its "
                     "last one again: give a prompt (-p, -f)"};
  }
  KVS_TRY(open_context(session_->size() + pending.size() + prompt_.size()));
  KVS_TRY(restore());
  tokens_.insert(tokens_.end(), pending.begin(), pending.end());
  tokens_.insert(tokens_.end(), prompt_.begin(), prompt_.end());
  if (!tokens_.empty()) return {};
  return Error{ErrorKind::usage, a_.load + " is empty: give a prompt (-p, -f)"};
}

Result<> Generation::load_session() {
  session::Coder coder = loaded_.coder();
  if (!a_.load_codec.empty()) {
    KVS_ASSIGN(load_codec_, codec::Codec::load(a_.load_codec));
    coder.codec = &*load_codec_;
  }
  KVS_ASSIGN(session_, session::Session::open(a_.load, coder));
  return {};
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
  limit_ = a_.ctx.value_or(std::min(most, tokens + most_new()));
  if (tokens > limit_) {
    return Error{ErrorKind::usage,
                 fmt::format("session and prompt have {}{} tokens, the context {}; the model "
                             "allows {} (--ctx)",
                             prompt_.size() > most ? "at least " : "", tokens, limit_, most)};
  }
  host::ContextOptions options;
  options.n_ctx = static_cast<int>(limit_);
  options.threads = a_.threads;
  if (is_live(a_)) {
    KVS_ASSIGN(const codec::Codec codec, codec::Codec::load(a_.cache));
    KVS_ASSIGN(auto form, live::LiveForm::of(codec));
    options.live = std::make_shared<live::LiveForm>(std::move(form));
    options.live_options.window = a_.pack.window;
  } else {
    KVS_ASSIGN(options.cache, host::parse_cache_type(a_.cache));
  }
  KVS_ASSIGN(context_, host::Context::create(model(), options));
  return {};
}

Result<> Generation::restore() {
  const Stopwatch watch;
  auto tokens = host::restore_session(*session_, model().shape(), *context_, terminal_progress());
  if (!tokens.ok() && tokens.error().kind == ErrorKind::numeric) {
    return Error{tokens.error().kind, a_.load + ": " + tokens.error().message};
  }
  KVS_ASSIGN(tokens_, std::move(tokens));
  loaded_tokens_ = tokens_.size();
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
    const size_t at = context_->size();
    const size_t n = until_checkpoint(at, std::min(kPiece, tokens_.size() - at), a_.checkpoint);
    KVS_TRY(context_->decode(std::span(tokens_).subspan(at, n), at + n == tokens_.size() ? 1 : 0));
    evaluated_ += n;
    KVS_TRY(store_checkpoint());
  }
  prompt_seconds_ = watch.seconds();
  return {};
}

Result<> Generation::generate() {
  const Stopwatch watch;
  const auto done = add_tokens();
  put_out("\n");
  generate_seconds_ = watch.seconds();
  return done;
}

Result<> Generation::add_tokens() {
  host::Sampler sampler(a_.sampler);
  while (generated_ < most_new() && tokens_.size() < limit_ && !interrupted()) {
    KVS_ASSIGN(const host::Token token, sampler.sample(context_->logits(0), tokens_));
    if (model().ends_generation(token) && !a_.ignore_end) break;
    tokens_.push_back(token);
    ++generated_;
    put_out(model().piece(token));
    if (generated_ == most_new()) break;  // the last token waits for the next run
    KVS_TRY(context_->decode(std::span(tokens_).last(1), 1));
    KVS_TRY(store_checkpoint());
  }
  return {};
}

Result<> Generation::store_checkpoint() {
  if (a_.save.empty() || !stays(context_->size())) return {};
  KVS_ASSIGN(auto state, context_->recurrent_state());
  states_.push_back(std::move(state));
  return {};
}

// Those of the session loaded, if what is saved is another file's records.
Result<> Generation::carry_states_over() {
  if (!session_ || continued_) return {};
  std::vector<session::RecurrentState> states;
  for (const size_t position : session_->file().state_positions()) {
    if (position >= loaded_tokens_ && !stays(position)) continue;
    KVS_ASSIGN(auto state, session_->state_at(position));
    states.push_back(std::move(state));
  }
  std::move(states_.begin(), states_.end(), std::back_inserter(states));
  states_ = std::move(states);
  return {};
}

// What was saved is opened again, unless it went through a pipe.
Result<> Generation::save() {
  if (a_.save.empty()) return {};
  KVS_TRY(write_session());
  std::error_code unknown;
  if (!std::filesystem::is_regular_file(a_.save, unknown)) return {};
  const auto again = session::Session::open(a_.save, loaded_.coder());
  if (!again.ok()) {
    return Error{again.error().kind, "what was saved cannot be read: " + again.error().message};
  }
  saved_ = describe_size(again->file());
  return {};
}

Result<> Generation::write_session() {
  const ModelShape& shape = model().shape();
  const session::Coder coder = loaded_.coder();
  KVS_ASSIGN(const host::StateCells state, host::cells_of(*context_, shape, tokens_));
  const KvView& cells = state.cells;
  const size_t n = cells.count(), old = std::min(n, loaded_tokens_);
  KVS_TRY(carry_states_over());
  const size_t last = states_.empty() ? (continued_ ? old : 0) : states_.back().position;
  if (state.recurrent && n > last) states_.push_back(*state.recurrent);
  if (!continued_) {
    return session::pack(std::move(*fresh_), cells, std::span(tokens_).subspan(n), coder, a_.pack,
                         {}, {.states = states_, .encoding = encoding_});
  }
  const auto pending = std::span(tokens_).subspan(std::max(n, loaded_tokens_));
  return session::extend(
      std::move(*continued_), *session_, cells.slice(old, n - old), pending, coder, {},
      {.states = states_, .encoding = encoding_, .instead_of = n > old && !stays(old) ? old : 0});
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
  if (is_live(a_)) {
    const auto f16 = double(context_->size() * model().shape().f16_bytes_per_token());
    const auto bytes = double(context_->cache_bytes());
    fmt::print(stderr, "cache: {:.3f} MB for {} tokens, {:.2f} times smaller than f16\n",
               bytes / 1e6, context_->size(), f16 / bytes);
  }
  if (!saved_.empty()) fmt::print(stderr, "saved {}: {}\n", a_.save, saved_);
}

Result<> run(RunArguments a) {
  KVS_TRY(check(a));
  if (a.threads > 0) set_thread_count(a.threads);
  KVS_TRY(sort_codecs(a));
  constexpr size_t kMost = 1 << 28;
  a.host.context = static_cast<int>(std::min(a.ctx.value_or(0), kMost));
  KVS_ASSIGN(const auto loaded, LoadedCoder::load(a.model, a.codec, a.lossless, {}, a.host));
  KVS_TRY(check_checkpoint(a.checkpoint, loaded->model->shape()));
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
  return {"run", "generate text, from and into saved sessions",
          [](CLI::App& app) -> std::function<Result<>()> {
            auto a = std::make_shared<RunArguments>();
            app.add_option("-m,--model", a->model, "model, GGUF")->required();
            app.add_option("-p,--prompt", a->prompt, "text to continue");
            app.add_option("-f,--file", a->prompt_file, "file with the text to continue");
            add_number(app, "-n,--predict", a->predict, {-1, 1 << 28},
                       "most tokens to generate; -1: until the context is full");
            add_number(app, "-c,--ctx-size,--ctx", a->ctx, kSomeTokens,
                       "tokens of context (default: what is needed, if the model allows it)");
            app.add_option("--cache", a->cache,
                           "type of llama.cpp's cache: f16, q8_0; or the file of a live codec")
                ->capture_default_str();
            app.add_flag("--no-special", a->no_special,
                         "read markers like <|im_start|> in the prompt letter by letter");
            app.add_option("--load", a->load, "session to continue");
            app.add_option("--load-codec", a->load_codec,
                           "codec of that session, if it is not --codec");
            app.add_option("--save", a->save, "session to write; may be the one loaded");
            app.add_option("--codec", a->codec,
                           "codec of the session to save, and of the one to load");
            app.add_flag("--lossless", a->lossless, "save without loss");
            add_number(app, "--sinks", a->pack.sinks, kTokens,
                       "first tokens a new session keeps exact");
            add_number(app, "--window", a->pack.window, kTokens,
                       "newest tokens a new session keeps exact");
            add_number(app, "--checkpoint", a->checkpoint, kTokens,
                       "of hybrid models: tokens from one recurrent state that is saved to the "
                       "next; 0: one at the end");
            app.add_option(
                   "--state", a->states,
                   "how recurrent states are saved: exact, f16, which is half as much, or q8, a "
                   "quarter")
                ->capture_default_str();
            auto& sampler = a->sampler;
            add_number(app, "--temp", sampler.temperature, {0, 100},
                       "temperature; 0: always the likeliest");
            add_number(app, "--top-k", sampler.top_k, {0, 1 << 28}, "keep the likeliest; 0: all");
            add_number(app, "--top-p", sampler.top_p, {0, 1},
                       "keep the likeliest up to this probability");
            add_number(app, "--min-p", sampler.min_p, {0, 1}, "keep this share of the likeliest's");
            add_number(app, "--repeat-penalty", sampler.repeat_penalty, {0.01, 100}, "1: none");
            add_number(app, "--repeat-last", sampler.repeat_last, kTokens,
                       "tokens the penalty looks at");
            add_number(app, "--seed", sampler.seed, kSeeds, "of the random choices");
            app.add_flag("--ignore-end", a->ignore_end, "go on behind the end of a text");
            app.add_flag("--quiet", a->quiet, "print only what is generated");
            add_model_options(app, a->host);
            add_threads(app, a->threads);
            return [a] { return run(*a); };
          }};
}

}  // namespace kvsplice::app
