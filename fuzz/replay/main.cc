// Stands in for libFuzzer: main for a fuzz driver where the compiler has no fuzzing engine.
// usage: fuzz_<name> [--runs=N] [--seed=S] file or directory...
// Every file is run as it is, then N mutations of the files. The same seed gives the same inputs,
// so a failure in CI is a failure here. Fails if too few mutations were accepted: then the driver
// tests little. An input that crashes the driver is left in <driver>.last-input for the debugger.
#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "support/driver.h"

extern "C" {
__attribute__((weak)) size_t LLVMFuzzerCustomMutator(uint8_t*, size_t, size_t, unsigned);
__attribute__((weak)) void __sanitizer_set_death_callback(void (*)());
}

namespace kvsplice::fuzz {
namespace {

namespace fs = std::filesystem;

struct Options {
  uint64_t runs = 1000;
  uint64_t seed = 1;
  std::vector<fs::path> paths;
};

uint64_t number(std::string_view text) {
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("--runs=")) {
      options.runs = number(argument.substr(7));
    } else if (argument.starts_with("--seed=")) {
      options.seed = number(argument.substr(7));
    } else {
      options.paths.emplace_back(argument);
    }
  }
  return options;
}

Result<std::vector<Bytes>> read_corpus(const std::vector<fs::path>& paths) {
  std::vector<fs::path> files;
  for (const fs::path& path : paths) {
    if (!fs::is_directory(path)) {
      files.push_back(path);
      continue;
    }
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  std::vector<Bytes> corpus;
  for (const fs::path& file : files) {
    KVS_ASSIGN(Bytes bytes, read_file(file));
    corpus.push_back(std::move(bytes));
  }
  return corpus;
}

// The input at work, written out only when the driver dies of it.
struct LastInput {
  static inline std::string path;
  static inline ByteSpan bytes;

  static void save() {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd >= 0) (void)!::write(fd, bytes.data(), bytes.size());
  }
  static void save_and_die(int signal) {
    save();
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
  static void watch(const char* driver) {
    path = fs::path(driver).filename().string() + ".last-input";
    if (__sanitizer_set_death_callback != nullptr) return __sanitizer_set_death_callback(save);
    for (int s : {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGABRT}) std::signal(s, save_and_die);
  }
};

void run(ByteSpan bytes) {
  LastInput::bytes = bytes;
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

Bytes mutate(ByteSpan from, Random& random) {
  constexpr size_t kGrowth = 1 << 12;
  Bytes bytes(from.begin(), from.end());
  for (uint64_t changes = 1 + random.below(3); changes > 0; --changes) {
    const size_t size = bytes.size();
    bytes.resize(size + kGrowth);
    const auto seed = random.next32();
    bytes.resize(LLVMFuzzerCustomMutator != nullptr
                     ? LLVMFuzzerCustomMutator(bytes.data(), size, bytes.size(), seed)
                     : LLVMFuzzerMutate(bytes.data(), size, bytes.size()));
  }
  return bytes;
}

int replay(const Options& options) {
  const auto read = read_corpus(options.paths);
  if (!read.ok() || read->empty()) {
    std::fprintf(stderr, "%s\n",
                 read.ok() ? "no files to begin with" : read.error().message.c_str());
    return 2;
  }
  const std::vector<Bytes>& corpus = *read;
  for (const Bytes& bytes : corpus) run(bytes);
  accepted = 0;
  Random random(options.seed);
  for (uint64_t i = 0; i < options.runs; ++i) {
    run(mutate(corpus[random.below(corpus.size())], random));
  }
  std::printf("%zu files and %llu mutations, of which %llu were accepted\n", corpus.size(),
              static_cast<unsigned long long>(options.runs),
              static_cast<unsigned long long>(accepted));
  const double wanted = least_accepted * static_cast<double>(options.runs);
  if (static_cast<double>(accepted) >= wanted) return 0;
  std::fprintf(stderr, "at least %.0f should have been\n", wanted);
  return 1;
}

// What libFuzzer's mutations come to, in few lines.
class ByteMutator {
 public:
  size_t change(uint8_t* data, size_t size, size_t most) {
    if (size == 0) return grow(data, size, most);
    const size_t at = below(size);
    switch (below(6)) {
      case 0:
        data[at] ^= static_cast<uint8_t>(1u << below(8));
        return size;
      case 1:
        data[at] = byte();
        return size;
      case 2:  // the values length fields break on
        data[at] = below(2) == 0 ? 0x00 : 0xff;
        return size;
      case 3:
        return below(8) == 0 ? at : size - below(std::min<size_t>(size, 4));
      case 4:
        std::copy(data + at + 1, data + size, data + at);
        return size - 1;
      default:
        return grow(data, size, most);
    }
  }

 private:
  size_t below(size_t n) { return static_cast<size_t>(random_.below(n)); }
  uint8_t byte() { return static_cast<uint8_t>(random_.next32()); }

  size_t grow(uint8_t* data, size_t size, size_t most) {
    const size_t grown = std::min(most, size + 1 + below(8));
    for (size_t i = size; i < grown; ++i) data[i] = byte();
    return grown;
  }

  Random random_{1};
};

}  // namespace
}  // namespace kvsplice::fuzz

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most) {
  static kvsplice::fuzz::ByteMutator mutator;
  return mutator.change(data, size, most);
}

int main(int argc, char** argv) {
  using namespace kvsplice::fuzz;
  LLVMFuzzerInitialize(&argc, &argv);
  LastInput::watch(argv[0]);
  return replay(parse(argc, argv));
}
