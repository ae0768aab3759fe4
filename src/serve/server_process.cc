#include "serve/server_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <optional>

namespace kvsplice::serve {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kGlance{20};
constexpr milliseconds kFirstPause{100}, kLongestPause{10'000};  // before it is started again
constexpr milliseconds kSettled{30'000};  // who lives so long was not started in vain
constexpr milliseconds kMayEnd{10'000};

ServerProcess::End describe(int status) {
  if (WIFSIGNALED(status)) return {fmt::format("ended by signal {}", WTERMSIG(status)), false};
  return {fmt::format("ended with code {}", WEXITSTATUS(status)), true};
}

// In the child, between fork and exec: only calls that are safe there.
[[noreturn]] void become(char* const* arguments, pid_t parent, int report) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // it does not outlive us, and has nothing to save
  if (::getppid() != parent) ::_exit(127);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXFSZ}) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::setpgid(0, 0);  // Ctrl-C is ours: what slots hold is saved first
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
  ::execvp(arguments[0], arguments);
  const int why = errno;
  [[maybe_unused]] const auto written = ::write(report, &why, sizeof why);
  ::_exit(127);
}

}  // namespace

ServerProcess::ServerProcess(std::vector<std::string> arguments, Events events)
    : arguments_(std::move(arguments)), events_(std::move(events)) {}

Result<> ServerProcess::spawn() {
  events_.before();
  std::vector<char*> arguments;
  for (std::string& argument : arguments_) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  int report[2];
  if (::pipe2(report, O_CLOEXEC) != 0) return Error{ErrorKind::io, "no pipe can be made"};
  const pid_t parent = ::getpid(), child = ::fork();
  if (child == 0) become(arguments.data(), parent, report[1]);
  const int failed_fork = errno;
  ::close(report[1]);
  int why = 0;
  const bool failed = child < 0 || ::read(report[0], &why, sizeof why) == sizeof why;
  ::close(report[0]);
  if (!failed) {
    pid_ = child;
    return {};
  }
  if (child > 0) ::waitpid(child, nullptr, 0);
  return Error{ErrorKind::io, fmt::format("cannot start {}: {}", arguments_[0],
                                          std::strerror(child < 0 ? failed_fork : why))};
}

// The child is started on the watching thread, too: it ends with the thread that has made it.
Result<> ServerProcess::start() {
  std::mutex mutex;
  std::condition_variable said;
  std::optional<Result<>> begun;
  watcher_ = std::thread([&] {
    {
      const std::lock_guard lock(mutex);
      begun = spawn();
      said.notify_all();
      if (!begun->ok()) return;
    }
    watch();
  });
  std::unique_lock lock(mutex);
  said.wait(lock, [&] { return begun.has_value(); });
  return *begun;
}

void ServerProcess::watch() {
  milliseconds pause = kFirstPause;
  while (!ending_) {
    if (pid_ > 0) {
      events_.began(++starts_);
      const auto begun = std::chrono::steady_clock::now();
      int status = 0;
      while (::waitpid(pid_, &status, WNOHANG) == 0) std::this_thread::sleep_for(kGlance);
      pid_ = -1;
      if (ending_) return;
      if (std::chrono::steady_clock::now() - begun > kSettled) pause = kFirstPause;
      if (!events_.ended(describe(status))) return;
    }
    for (milliseconds waited{0}; waited < pause && !ending_; waited += kGlance) {
      std::this_thread::sleep_for(kGlance);
    }
    pause = std::min(2 * pause, kLongestPause);
    if (!ending_) (void)spawn().ok();
  }
}

// The watcher waits for the child to the last: when it ends, the system ends the child, too.
ServerProcess::~ServerProcess() {
  ending_ = true;
  if (pid_ > 0) ::kill(pid_, SIGTERM);
  for (milliseconds waited{0}; pid_ > 0 && waited < kMayEnd; waited += kGlance) {
    std::this_thread::sleep_for(kGlance);
  }
  if (const pid_t left = pid_; left > 0) ::kill(left, SIGKILL);
  if (watcher_.joinable()) watcher_.join();
}

}  // namespace kvsplice::serve
