#include "terminal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <mutex>

#include "command.h"
#include "launched.h"

namespace kvsplice::app {

namespace {

using Clock = std::chrono::steady_clock;

std::string g_command_line;
std::atomic<int> g_signal{0};        // the first that asked to stop
std::atomic<bool> g_asked{false};    // by Ctrl-C or SIGTERM
std::atomic<int> g_output_error{0};  // errno of the first text that did not arrive
bool g_line_open = false;

// A terminal that closes and a reader that goes away may say so many times; who asks a second time
// by Ctrl-C or SIGTERM does not wait.
void on_signal(int signal) {
  const bool is_asking = signal == SIGINT || signal == SIGTERM;
  if (is_asking && g_asked.exchange(true)) _exit(128 + signal);
  int none = 0;
  g_signal.compare_exchange_strong(none, signal);
}

void catch_signal(int signal) {
  struct sigaction action {
  }, before{};
  sigaction(signal, nullptr, &before);
  if (signal == SIGHUP && before.sa_handler == SIG_IGN) return;  // nohup
  action.sa_handler = on_signal;
  sigaction(signal, &action, nullptr);
}

// On the error stream, where nothing can be done about what does not arrive.
void draw(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

std::string quoted(const std::string& word) {
  const char* plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:,+@%";
  if (!word.empty() && word.find_first_not_of(plain) == word.npos) return word;
  std::string out = "'";
  for (char c : word) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + "'";
}

double seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

std::string time_text(double s) {
  return s < 60 ? fmt::format("{:.0f} s", s)
         : s < 3600
             ? fmt::format("{:.0f} min {:02.0f} s", std::floor(s / 60), std::fmod(s, 60))
             : fmt::format("{:.0f} h {:02.0f} min", std::floor(s / 3600), std::fmod(s, 3600) / 60);
}

// Time left is judged from the work done since `total` last changed (a new kind of work).
struct Bar {
  Clock::time_point begun = Clock::now(), drawn{};
  size_t total = 0;
  const bool terminal = isatty(STDERR_FILENO) != 0;

  void show(const std::string& what, size_t done, size_t of) {
    const auto now = Clock::now();
    if (of != total || done == 0) {
      total = of;
      begun = now;
    }
    const double pause = terminal ? 0.1 : 10;
    if (drawn == Clock::time_point{} && !terminal) drawn = now;  // short jobs stay silent in logs
    if (seconds(now - drawn) < pause) return;
    drawn = now;
    const double spent = seconds(now - begun);
    const std::string left =
        done > 0 && of > 0 ? ", " + time_text(spent / double(done) * double(of - done)) + " left"
                           : "";
    const std::string line = fmt::format("{}{} {}/{}{}", rank_prefix(), what, done, of, left);
    draw(fmt::format("{}{}{}", terminal ? "\r\033[K" : "", line, terminal ? "" : "\n"));
    g_line_open = terminal;
  }
};

}  // namespace

void remember_command_line(int argc, char** argv) {
  for (int i = 0; i < argc; ++i) g_command_line += (i ? " " : "") + quoted(argv[i]);
}

const std::string& command_line() { return g_command_line; }

void end_progress() {
  if (g_line_open) draw("\r\033[K");
  g_line_open = false;
}

void catch_interrupts() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) catch_signal(signal);
}

bool interrupted() { return g_signal != 0 || g_output_error != 0; }

bool take_interrupt_back() {
  int interrupt = SIGINT;
  if (g_signal.compare_exchange_strong(interrupt, 0)) g_asked = false;
  return !interrupted();
}

int stop_signal() { return g_signal; }

void keep_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) >= 0) continue;
    // The lowest number that is free is this one. Opened the wrong way round, using it is an error.
    (void)!::open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

std::FILE* summary_stream(const std::string& out) {
  std::error_code unknown;
  const bool is_file = std::filesystem::is_regular_file(out, unknown);
  return is_file && !out.starts_with("/dev/") && !out.starts_with("/proc/") ? stdout : stderr;
}

namespace {

// Text that a model makes must not steer the terminal: no controls but line ends and tabs. Those of
// two bytes may come in two pieces.
std::string without_controls(std::string_view text) {
  static unsigned char before = 0;
  std::string shown;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool is_control = (byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f ||
                            (before == 0xc2 && byte >= 0x80 && byte < 0xa0);
    before = byte;
    if (!is_control) shown += c;
  }
  return shown;
}

}  // namespace

void put_out(std::string_view made) {
  static const bool terminal = isatty(STDOUT_FILENO) != 0;
  const std::string text = terminal ? without_controls(made) : std::string(made);
  errno = 0;
  const bool arrived = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
                       std::fflush(stdout) == 0 && !std::ferror(stdout);
  int none = 0;
  if (!arrived) g_output_error.compare_exchange_strong(none, errno != 0 ? errno : EIO);
}

Result<> check_output() {
  put_out("");
  if (g_output_error == 0) return {};
  return Error{ErrorKind::io, fmt::format("cannot write to the standard output: {}",
                                          std::strerror(g_output_error))};
}

Progress terminal_progress() {
  catch_interrupts();
  auto bar = std::make_shared<Bar>();
  auto guard = std::make_shared<std::mutex>();
  return {[bar, guard](const std::string& what, size_t done, size_t total) {
    const std::lock_guard lock(*guard);
    bar->show(what, done, total);
    return !interrupted();
  }};
}

}  // namespace kvsplice::app
