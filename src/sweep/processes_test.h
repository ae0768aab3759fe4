// Processes of a test's own.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <vector>

namespace kvsplice::sweep {

// Runs `body` in a process of its own, which ends with what it returns.
inline pid_t in_a_process(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  return child;
}

// What it ended with; a signal's number below 0.
inline int end_of(pid_t child) {
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

inline std::vector<int> ends_of(const std::vector<pid_t>& children) {
  std::vector<int> ends;
  for (const pid_t child : children) ends.push_back(end_of(child));
  return ends;
}

}  // namespace kvsplice::sweep
