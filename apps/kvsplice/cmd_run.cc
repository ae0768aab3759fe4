// kvsplice run: generates text, from a saved session if there is one, and saves the session.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "command.h"
#include "conversation.h"
#include "core/file.h"
#include "core/quantities.h"
#include "core/threads.h"
#include "generation.h"
#include "host/texts.h"
#include "live/budget.h"
#include "model_options.h"
#include "number_option.h"
#include "terminal.h"

namespace kvsplice::app {

namespace {

Result<> check_cache(const RunArguments& a) {
  if (!a.live()) return {};
  std::error_code unknown;
  if (!std::filesystem::is_regular_file(a.cache, unknown)) {
    return Error{ErrorKind::usage,
                 fmt::format("--cache {} is not handled here; legal: f16, q8_0, or the file of a "
                             "live codec",
                             a.cache)};
  }
  if (a.codec.empty() && !a.lossless && a.load_codec.empty()) return {};
  return Error{ErrorKind::usage,
               "a live cache is saved as it is: --codec, --load-codec and --lossless are of "
               "sessions of llama.cpp's own cache"};
}

Result<> check_conversation(const RunArguments& a) {
  if (!a.conversation && !(a.system.empty() && a.chat_template.empty())) {
    return Error{ErrorKind::usage,
                 "--system-prompt and --chat-template are of a conversation (-cnv)"};
  }
  if (!a.conversation || !a.no_special) return {};
  return Error{ErrorKind::usage,
               "--no-special: a conversation needs the markers of its chat template"};
}

Result<> check(const RunArguments& a) {
  KVS_TRY(host::check(a.sampler));
  if (!a.prompt.empty() && !a.prompt_file.empty()) {
    return Error{ErrorKind::usage, "give a prompt (-p) or a file with one (-f), not both"};
  }
  KVS_TRY(check_cache(a));
  KVS_TRY(check_conversation(a));
  if (!a.memory.empty()) {
    KVS_TRY(parse_size(a.memory));
    if (!a.live()) {
      return Error{ErrorKind::usage,
                   "--memory is of a live cache; of others --ctx-size says how much they take"};
    }
  }
  if (!a.save.empty() && !a.lossless && a.codec.empty() && !a.live()) {
    return Error{ErrorKind::usage, "to save, give a codec (--codec), --lossless, or both"};
  }
  KVS_TRY(session::parse_state_encoding(a.states));
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

Result<std::string> read_prompt(const RunArguments& a) {
  if (!a.prompt_file.empty()) return read_text(a.prompt_file);
  return a.prompt;
}

// What attention reads in place of llama.cpp's own cache; no form: nothing.
struct LiveCache {
  std::shared_ptr<const live::LiveForm> form;
  live::LiveOptions options;
};

// A cache that is loaded keeps the window it was made with.
Result<live::LiveOptions> live_options(const RunArguments& a) {
  live::LiveOptions options{a.pack.sinks};
  options.window = a.window.value_or(options.window);
  if (a.load.empty()) return options;
  KVS_TRY(check_kind(a.load, true));
  KVS_ASSIGN(const auto saved, live::SavedCache::open(a.load));
  const live::LiveOptions& own = saved.info().options;
  if (!a.window || *a.window == own.window) return own;
  return Error{ErrorKind::usage, fmt::format("{} was made with --window {}", a.load, own.window)};
}

Result<LiveCache> live_cache(const RunArguments& a) {
  if (!a.live()) return LiveCache();
  LiveCache made;
  KVS_ASSIGN(made.form, live::LiveForm::load(a.cache));
  KVS_ASSIGN(made.options, live_options(a));
  return made;
}

// Of a conversation, if nothing else is said: llama.cpp takes all of a cache's memory at once, and
// models allow for more than machines have.
constexpr size_t kConversation = 8192;

// By context lengths alone, for `tokens` that are or wait there, and those to come.
Room room_in_context(const RunArguments& a, const host::Model& model, size_t tokens) {
  const auto most = static_cast<size_t>(model.context_limit());
  const size_t wanted = a.live() ? most : a.conversation ? kConversation : tokens + a.most_new();
  const size_t room = a.ctx.value_or(std::min(most, wanted));
  return Room{room, fmt::format("the context of {} tokens", room)};
}

// The least of both.
Result<Room> room_in_memory(const RunArguments& a, const LiveCache& live, const Room& context) {
  KVS_ASSIGN(const uint64_t bytes, parse_size(a.memory));
  const live::Budget budget(*live.form, live.options, host::kLiveCells);
  const uint64_t least = budget.bytes(std::min(budget.least_tokens(), context.tokens));
  if (bytes < least) {
    return Error{ErrorKind::usage,
                 fmt::format("--memory {}: this cache needs {} at least, for tables, sinks, the "
                             "window and 256 tokens beside them; {} tokens take {}",
                             a.memory, print_size(least), context.tokens,
                             print_size(budget.bytes(context.tokens)))};
  }
  const Room room{budget.tokens(bytes, context.tokens), "--memory " + a.memory};
  return room.tokens < context.tokens ? room : context;
}

Result<Room> room_for(const RunArguments& a, const host::Model& model, const LiveCache& live,
                      size_t tokens) {
  Room room = room_in_context(a, model, tokens);
  if (!a.memory.empty()) {
    KVS_ASSIGN(room, room_in_memory(a, live, room));
    if (a.ctx && !a.quiet) {
      fmt::print(stderr, "of --memory and --ctx-size, {} is less: {} tokens\n", room.bounded_by,
                 room.tokens);
    }
  }
  if (tokens <= room.tokens) return room;
  const auto most = static_cast<size_t>(model.context_limit());
  return Error{
      ErrorKind::usage,
      fmt::format("session and prompt have {}{} tokens, {} holds no more than {}; the model "
                  "allows {}",
                  tokens > most ? "at least " : "", tokens, room.bounded_by, room.tokens, most)};
}

Result<host::Context> open_context(const RunArguments& a, const host::Model& model,
                                   const LiveCache& live, const Room& room) {
  host::ContextOptions options;
  options.n_ctx = static_cast<int>(room.tokens);
  options.threads = a.threads;
  options.live = live.form;
  options.live_options = live.options;
  if (!live.form) {
    KVS_ASSIGN(options.cache, host::parse_cache_type(a.cache));
  }
  return host::Context::create(model, options);
}

// The newest token cannot be evaluated again by hybrids and live caches.
Result<> check_something_waits(const RunArguments& a, const ModelShape& shape,
                               const Archive::Size& session, size_t prompt) {
  if (a.conversation || session.waiting + prompt > 0) return {};
  if (session.cells == 0) {
    return Error{ErrorKind::usage, a.load + " is empty: give a prompt (-p, -f)"};
  }
  if (!shape.hybrid() && !a.live()) return {};
  return Error{ErrorKind::usage,
               fmt::format("{} has no token left to evaluate, and {} cannot evaluate its last one "
                           "again: give a prompt (-p, -f)",
                           a.load, a.live() ? "a live cache" : "a hybrid model")};
}

// All that `run` needs besides its arguments.
struct Means {
  const host::Model& model;
  const LiveCache& live;
  Archive& archive;
};

// What is loaded and the prompt are in it, or wait to be evaluated.
Result<Generation> begin(const RunArguments& a, const Means& means,
                         std::span<const host::Token> prompt) {
  const auto& [model, live, archive] = means;
  Archive::Size session;
  if (!a.load.empty()) {
    KVS_ASSIGN(session, archive.open(a.load));
  }
  if (!a.save.empty()) KVS_TRY(archive.hold(a.save));
  KVS_TRY(check_something_waits(a, model.shape(), session, prompt.size()));
  KVS_ASSIGN(Room room, room_for(a, model, live, session.tokens() + prompt.size()));
  KVS_ASSIGN(host::Context context, open_context(a, model, live, room));
  Generation generation(a, model, std::move(context), std::move(room), archive);
  if (!a.load.empty()) KVS_TRY(generation.restore());
  generation.add(prompt);
  return generation;
}

void report(const RunArguments& a, const Generation& generation, const std::string& saved) {
  if (a.quiet) return;
  const auto say = [](const std::string& line) { fmt::print(stderr, "{}\n", line); };
  if (!a.load.empty()) say(generation.describe_restoring());
  say(generation.describe_speed());
  if (a.live()) say(generation.describe_cache());
  if (!saved.empty()) say(fmt::format("saved {}: {}", a.save, saved));
}

Result<> continue_text(const RunArguments& a, const Means& means) {
  const host::Model& model = means.model;
  KVS_ASSIGN(const std::string text, read_prompt(a));
  if (text.empty() && a.load.empty()) {
    return Error{ErrorKind::usage, "there is nothing to continue: give a prompt (-p, -f)"};
  }
  // One more than any context holds is enough to say that it is too long.
  KVS_ASSIGN(const auto prompt, host::tokenize(model, text,
                                               {.begins = a.load.empty(),
                                                .markers = !a.no_special,
                                                .most = size_t(model.context_limit()) + 1}));
  KVS_ASSIGN(Generation generation, begin(a, means, prompt));
  end_progress();
  catch_interrupts();
  if (!a.quiet) put_out(text);
  KVS_TRY(generation.evaluate());
  if (!interrupted()) {
    KVS_TRY(generation.generate(a.most_new()));
    put_out("\n");
  }
  if (generation.stopped_for_room() && a.wants_all()) {
    fmt::print(stderr, "kvsplice: {} is full: the text ends here. Nothing of it was dropped\n",
               generation.room().bounded_by);
  }
  std::string saved;
  if (!a.save.empty()) {
    KVS_ASSIGN(saved, means.archive.save_to(a.save, generation.context(), generation.tokens()));
  }
  report(a, generation, saved);
  return {};
}

Result<> converse(const RunArguments& a, const Means& means) {
  KVS_ASSIGN(const std::string first, read_prompt(a));
  KVS_ASSIGN(auto chat, host::ChatTemplate::of(means.model, a.chat_template));
  KVS_ASSIGN(Generation generation, begin(a, means, {}));
  end_progress();
  catch_interrupts();
  Conversation conversation(a, means.model, std::move(chat), generation, means.archive);
  KVS_TRY(conversation.run(first));
  std::string saved;
  if (!a.save.empty() && !generation.tokens().empty()) {
    KVS_ASSIGN(saved, means.archive.save_to(a.save, generation.context(), generation.tokens()));
  }
  report(a, generation, saved);
  return conversation.outcome();
}

Result<> run(RunArguments a) {
  KVS_TRY(check(a));
  if (a.threads > 0) set_thread_count(a.threads);
  a.pack.window = a.window.value_or(a.pack.window);
  KVS_TRY(sort_codecs(a));
  a.host.context = static_cast<int>(std::min(a.ctx.value_or(0), RunArguments::kMostTokens));
  KVS_ASSIGN(const auto loaded, LoadedCoder::load(a.model, a.codec, a.lossless, {}, a.host));
  KVS_TRY(check_checkpoint(a.checkpoint, loaded->model->shape()));
  KVS_ASSIGN(const LiveCache live, live_cache(a));
  const auto archive =
      live.form ? live_archive(*live.form, live.options) : session_archive(a, *loaded);
  const Means means{*loaded->model, live, *archive};
  return a.conversation ? converse(a, means) : continue_text(a, means);
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
            app.add_flag("--conversation", a->conversation,
                         "or -cnv: answer messages of the standard input; /help there");
            app.add_option("--system-prompt", a->system,
                           "or -sys: what the model is told before the first message");
            app.add_option("--chat-template", a->chat_template,
                           "one of llama.cpp's by name, if not the model's own");
            add_number(app, "-n,--predict", a->predict, {-1, 1 << 28},
                       "most tokens to generate, 128; -1: until the context is full. Of a "
                       "conversation: of each answer, -1");
            add_number(app, "-c,--ctx-size,--ctx", a->ctx, kSomeTokens,
                       "tokens of context (default: what is needed, of a conversation 8192, if the "
                       "model allows it)");
            app.add_option("--memory", a->memory,
                           "bytes that a live cache may take, as in 2G (default: what the context "
                           "needs)");
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
            add_number(app, "--window", a->window, kTokens,
                       "newest tokens a new session keeps exact, 32; a live cache, 128");
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
