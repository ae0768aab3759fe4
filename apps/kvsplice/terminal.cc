#include "terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <mutex>

#include "command.h"

namespace kvsplice::app {

namespace {

using Clock = std::chrono::steady_clock;

std::string g_command_line;
std::atomic<bool> g_stop{false};
bool g_line_open = false;

void on_interrupt(int) {
  if (g_stop.exchange(true)) _exit(130);  // the second Ctrl-C does not wait
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
    const std::string line = fmt::format("{} {}/{}{}", what, done, of, left);
    fmt::print(stderr, "{}{}{}", terminal ? "\r\033[K" : "", line, terminal ? "" : "\n");
    std::fflush(stderr);
    g_line_open = terminal;
  }
};

}  // namespace

void remember_command_line(int argc, char** argv) {
  for (int i = 0; i < argc; ++i) g_command_line += (i ? " " : "") + quoted(argv[i]);
}

const std::string& command_line() { return g_command_line; }

void end_progress() {
  if (g_line_open) fmt::print(stderr, "\r\033[K");
  g_line_open = false;
}

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() { return g_stop; }

Progress terminal_progress() {
  catch_interrupts();
  auto bar = std::make_shared<Bar>();
  auto guard = std::make_shared<std::mutex>();
  return {[bar, guard](const std::string& what, size_t done, size_t total) {
    const std::lock_guard lock(*guard);
    bar->show(what, done, total);
    return !g_stop;
  }};
}

}  // namespace kvsplice::app
