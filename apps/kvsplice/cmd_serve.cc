// kvsplice serve: llama-server with a store of prompt caches behind it.
#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <thread>

#include "command.h"
#include "core/quantities.h"
#include "core/threads.h"
#include "loaded_coder.h"
#include "number_option.h"
#include "serve/cell_settings.h"
#include "serve/front.h"
#include "serve/service.h"
#include "server_options.h"
#include "store/remote/remote_url.h"
#include "store_folder.h"
#include "terminal.h"

namespace kvsplice::app {

namespace {

namespace fs = std::filesystem;

struct ServeArguments {
  serve::Options options;
  std::string save = "idle";
  std::string cap = "20G", hot = "0", ttl;
  std::vector<std::string> handed_on;  // to the server, of what stood before --
  int threads = 0;
};

Result<> check(const ServeArguments& a) {
  const serve::Options& o = a.options;
  if (!o.upstream.empty() && o.slots_folder.empty()) {
    return Error{ErrorKind::usage, "--upstream needs --slots-dir: the server's --slot-save-path"};
  }
  if (o.upstream.empty() && !o.slots_folder.empty()) {
    return Error{ErrorKind::usage, "--slots-dir goes with --upstream"};
  }
  if (!o.upstream.empty() && !(o.arguments.empty() && a.handed_on.empty())) {
    const std::string& first = a.handed_on.empty() ? o.arguments[0] : a.handed_on[0];
    return Error{ErrorKind::usage,
                 fmt::format("{} is of a server that is started; with --upstream none is: give it "
                             "to that llama-server",
                             first)};
  }
  return {};
}

// A name without a folder is looked for along PATH, as shells do.
Result<std::string> find_program(const std::string& name) {
  if (name.find('/') != name.npos) {
    if (::access(name.c_str(), X_OK) == 0) return name;
    return Error{ErrorKind::usage, fmt::format("--server {}: there is no such program", name)};
  }
  const char* path = std::getenv("PATH");
  std::string rest = path != nullptr ? path : "";
  while (!rest.empty()) {
    const size_t colon = std::min(rest.find(':'), rest.size());
    const fs::path candidate = fs::path(rest.substr(0, colon)) / name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate.string();
    rest.erase(0, colon + 1);
  }
  return Error{ErrorKind::usage,
               fmt::format("no program {} along PATH: name llama-server with --server", name)};
}

// What the started server is told and how it is asked.
Result<> prepare_server(ServeArguments& a) {
  serve::Options& o = a.options;
  const std::vector<std::string> variables = serve::environment();
  KVS_TRY(check_server_options(o.arguments, variables));
  KVS_ASSIGN(o.program, find_program(o.program));
  if (!o.api_key.empty()) {
    o.arguments.insert(o.arguments.end(), {"--api-key", o.api_key});
  }
  if (a.threads > 0) {
    a.handed_on.insert(a.handed_on.end(), {"--threads", std::to_string(a.threads)});
  }
  // What stands behind -- is nearer to the server, and wins.
  o.arguments.insert(o.arguments.begin(), a.handed_on.begin(), a.handed_on.end());
  KVS_ASSIGN(o.api_key, server_key(o.arguments, variables));
  if (const auto asleep = sleeps_after(o.arguments)) {
    o.save_after = std::min(o.save_after, *asleep / 2);  // it would be lost
  }
  return {};
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

sigset_t stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
  return signals;
}

// Signals are waited for by a thread, which may call what handlers must not.
class StopOnSignal {
 public:
  explicit StopOnSignal(serve::Front& front) {
    waiter_ = std::thread([&front] {
      const sigset_t wanted = stop_signals();
      int got = 0;
      sigwait(&wanted, &got);
      front.stop();
    });
  }
  ~StopOnSignal() {
    ::kill(::getpid(), SIGTERM);  // it may still wait
    waiter_.join();
  }

 private:
  std::thread waiter_;
};

// Before any thread is made, so that all of them leave these signals to the waiter.
void hold_signals() {
  const sigset_t held = stop_signals();
  pthread_sigmask(SIG_BLOCK, &held, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

// What main() sets is for work that ends: here each thread that answers would keep for ever what
// its largest request has taken.
void share_free_memory() {
  mallopt(M_ARENA_MAX, 2);
  mallopt(M_TRIM_THRESHOLD, 32 << 20);
}

Result<> run(ServeArguments a) {
  share_free_memory();
  serve::Options& o = a.options;
  KVS_TRY(check(a));
  if (a.threads > 0) set_thread_count(a.threads);
  KVS_ASSIGN(o.store, store_folder(o.store));
  KVS_ASSIGN(o.limits.bytes, parse_size(a.cap));
  KVS_ASSIGN(o.hot_bytes, parse_size(a.hot));
  if (!a.ttl.empty()) {
    KVS_ASSIGN(o.limits.seconds, parse_duration(a.ttl));
  }
  o.save = a.save == "always" ? serve::SaveWhen::always : serve::SaveWhen::idle;
  if (o.upstream.empty()) KVS_TRY(prepare_server(a));
  hold_signals();
  KVS_ASSIGN(const auto loaded, LoadedCoder::load(o.model, o.codec));
  KVS_ASSIGN(const auto service, serve::Service::create(o, loaded->coder()));
  serve::Front front(*service);
  KVS_ASSIGN(const int port, front.listen(o.host, o.port));
  KVS_TRY(service->start([&front] { front.stop(); }));
  fmt::print(
      "listening at http://{0}:{1}, page at http://{0}:{1}/kvsplice/\nstore {2}, {3}\n", o.host,
      port, o.store,
      loaded->codec
          ? codec::print(loaded->codec->text())
          : "without loss, until a codec is learnt (`kvsplice calibrate` makes a better one)");
  if (!o.remote.empty()) {
    fmt::print("remote {}\n", store::RemoteUrl::parse(o.remote).value().shown());
  }
  if (!is_loopback(o.host) && o.api_key.empty()) {
    fmt::print("note: whoever reaches {} can ask the model: give it a key (--api-key KEY)\n",
               o.host);
  }
  std::fflush(stdout);
  const StopOnSignal stop(front);
  front.run();
  return service->outcome();
}

}  // namespace

Command serve_command();

Command serve_command() {
  return {
      "serve", "keep prompt caches of llama-server, packed, across restarts",
      [](CLI::App& app) -> std::function<Result<>()> {
        auto a = std::make_shared<ServeArguments>();
        auto& o = a->options;
        o.program = "llama-server";
        app.footer(
            "kvsplice serve -m M.gguf -c 8192 -np 2 -ngl 99 -- --temp 0.7: whatever stands behind "
            "-- is llama-server's.");
        app.add_option("-m,--model", o.model, "model, GGUF")->required();
        app.add_option("--codec", o.codec, "codec of that model; none: without loss");
        app.add_option("--store", o.store,
                       "folder of the store (default: $KVSPLICE_STORE, else kvsplice/store in "
                       "$XDG_DATA_HOME or ~/.local/share)");
        app.add_option("--cap", a->cap, "bytes that the store may take; K, M, G, T: of 1024")
            ->capture_default_str();
        app.add_option("--hot", a->hot,
                       "bytes of slot files that are kept in memory as they are, too: they come "
                       "back without decoding")
            ->capture_default_str();
        app.add_option("--ttl", a->ttl,
                       "time after which what is not used is dropped, as in 30d (m, h, d); none: "
                       "for ever");
        app.add_option("--remote", o.remote,
                       "what stands behind the store and is shared: redis://[:PASSWORD@]HOST:PORT, "
                       "unix:///SOCKET, s3+http://HOST:PORT/BUCKET/PREFIX, s3+https://...")
            ->type_name("URL")
            ->envname("KVSPLICE_REMOTE");
        app.add_option("--host", o.host, "address to listen at")->capture_default_str();
        add_number(app, "--port", o.port, {0, 65535}, "port to listen at; 0: any");
        app.add_option("--server", o.program, "llama-server to start")->capture_default_str();
        app.add_option("--upstream", o.upstream,
                       "llama-server that runs, http://HOST:PORT, instead of starting one");
        app.add_option("--slots-dir", o.slots_folder, "its --slot-save-path");
        app.add_option("--api-key", o.api_key,
                       "that clients need, and by which llama-server is asked; several: KEY,KEY");
        app.add_option("--save", a->save,
                       "idle: slots that were left alone for a while; always: after each answer")
            ->check(CLI::IsMember({"idle", "always"}))
            ->capture_default_str();
        add_number(app, "--save-after", o.save_after, {0, 86400},
                   "seconds that a slot is left alone before it is saved");
        add_number(app, "--fewest-tokens", o.fewest_tokens, {16, 1 << 20},
                   "of a prompt that is worth keeping");
        add_number(app, "--learn-after", o.learn_after, {0, 1e9},
                   "without --codec: tokens stored before one is learnt from them; 0: never");
        add_number(app, "--max-kld", o.most_kld, {1e-6, 100},
                   "divergence, in nats a token, that a learnt codec may cost (default: what q4_0 "
                   "costs)");
        add_number(app, "-t,--threads", a->threads, {0, 1024},
                   "threads of llama-server, and of coding; 0: all");
        add_server_options(app, a->handed_on);
        app.add_option("arguments", o.arguments, "options of llama-server, behind --");
        return [a] { return run(*a); };
      }};
}

}  // namespace kvsplice::app
