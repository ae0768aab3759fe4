// Runs the program as a user would and keeps what it said.
#pragma once

#include <gmock/gmock.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace kvsplice::cli {

inline const std::string kModel = KVSPLICE_TEST_MODEL;

struct Outcome {
  int code;
  std::string text;  // both streams
};

// A folder of the test's own, removed with it.
class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "kvsplice-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

inline Outcome shell(const std::string& command) {
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  Outcome outcome{-1, {}};
  char buffer[4096];
  while (const size_t n = fread(buffer, 1, sizeof buffer, pipe)) outcome.text.append(buffer, n);
  const int status = pclose(pipe);
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  return outcome;
}

// `arguments` are words for the shell.
inline Outcome run(const std::string& arguments) {
  return shell(std::string(KVSPLICE_BINARY) + " " + arguments);
}

// What it said, if it did what it was asked.
inline std::string must(const std::string& arguments) {
  const Outcome outcome = run(arguments);
  EXPECT_EQ(outcome.code, 0) << arguments << "\n" << outcome.text;
  return outcome.text;
}

// It must say why not, in one line.
inline void refused(const std::string& arguments, int code, const std::string& says) {
  const Outcome outcome = run(arguments);
  EXPECT_EQ(outcome.code, code) << arguments << "\n" << outcome.text;
  EXPECT_THAT(outcome.text, ::testing::HasSubstr(says)) << arguments;
  EXPECT_EQ(std::count(outcome.text.begin(), outcome.text.end(), '\n'), 1) << outcome.text;
}

inline std::string sample(const std::string& name) {
  return std::string(KVSPLICE_SOURCE_DIR) + "/samples/" + name + ".txt";
}

inline std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream all;
  all << in.rdbuf();
  return all.str();
}

inline void spill(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace kvsplice::cli
