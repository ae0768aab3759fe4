#include "report/subprocess.h"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

extern char** environ;

namespace kvsplice::report {

namespace {

// Unnamed files instead of pipes: nothing can block or break half-way.
using File = std::unique_ptr<FILE, int (*)(FILE*)>;

File temporary() { return {std::tmpfile(), std::fclose}; }

std::string whole(FILE* file) {
  std::rewind(file);
  std::string text;
  char buffer[1 << 16];
  for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, file)) > 0;) text.append(buffer, n);
  return text;
}

Error failed(const std::string& program, int code) {
  return {ErrorKind::io, fmt::format("cannot run {}: {}", program, std::strerror(code))};
}

int exit_code(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

Result<Finished> run_program(const std::vector<std::string>& arguments, const std::string& input) {
  const std::string& program = arguments.at(0);
  File in = temporary(), out = temporary(), err = temporary();
  if (!in || !out || !err) return failed(program, errno);
  const bool written = std::fwrite(input.data(), 1, input.size(), in.get()) == input.size();
  if (!written || std::fflush(in.get()) != 0) return failed(program, errno);
  std::rewind(in.get());

  std::vector<char*> argv;
  for (const auto& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ::fileno(in.get()), 0);
  posix_spawn_file_actions_adddup2(&actions, ::fileno(out.get()), 1);
  posix_spawn_file_actions_adddup2(&actions, ::fileno(err.get()), 2);
  pid_t child = 0;
  const int code = ::posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (code != 0) return failed(program, code);

  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return failed(program, errno);
  }
  return Finished{exit_code(status), whole(out.get()), whole(err.get())};
}

}  // namespace kvsplice::report
