#include "report/subprocess.h"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "core/temporary_folder.h"

extern char** environ;

namespace kvsplice::report {

namespace {

Error failed(const std::string& program, int code) {
  return {ErrorKind::io, fmt::format("cannot run {}: {}", program, std::strerror(code))};
}

Result<std::string> whole(const Descriptor& file) {
  std::string text;
  Bytes piece(1 << 16);
  if (::lseek(file.get(), 0, SEEK_SET) < 0) return system_error("read", "a temporary file");
  for (size_t n = 1; n > 0;) {
    KVS_ASSIGN(n, read_up_to(file.get(), piece.data(), piece.size(), "a temporary file"));
    text.append(piece.begin(), piece.begin() + static_cast<ptrdiff_t>(n));
  }
  return text;
}

int exit_code(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

Result<Finished> run_program(const std::vector<std::string>& arguments, const std::string& input) {
  const std::string& program = arguments.at(0);
  // Unnamed files instead of pipes: nothing can block or break half-way.
  KVS_ASSIGN(const Descriptor in, unnamed_file());
  KVS_ASSIGN(const Descriptor out, unnamed_file());
  KVS_ASSIGN(const Descriptor err, unnamed_file());
  KVS_TRY(write_all(in.get(), {reinterpret_cast<const uint8_t*>(input.data()), input.size()},
                    "a temporary file"));
  if (::lseek(in.get(), 0, SEEK_SET) < 0) return failed(program, errno);

  std::vector<char*> argv;
  for (const auto& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in.get(), 0);
  posix_spawn_file_actions_adddup2(&actions, out.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, err.get(), 2);
  pid_t child = 0;
  const int code = ::posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (code != 0) return failed(program, code);

  int status = 0;
  if (retried([&] { return ::waitpid(child, &status, 0); }) < 0) return failed(program, errno);
  KVS_ASSIGN(std::string output, whole(out));
  KVS_ASSIGN(std::string errors, whole(err));
  return Finished{exit_code(status), std::move(output), std::move(errors)};
}

}  // namespace kvsplice::report
