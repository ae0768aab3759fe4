// Stands in for libFuzzer: main for a fuzz driver where the compiler has no fuzzing engine.
// usage: fuzz_<name> [--runs=N] [--seed=S] [file or directory]...
// Every file is run as it is, then N mutations of the files (of nothing, if there are none). The
// same seed gives the same inputs, so a failure in CI is a failure here. An input that crashes the
// driver is left in <driver>.last-input for the debugger.
#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::uint8_t>;

struct Options {
  std::uint64_t runs = 1000;
  std::uint64_t seed = 1;
  std::vector<fs::path> paths;
};

std::uint64_t number(std::string_view text) {
  std::uint64_t value = 0;
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

Bytes read_file(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(stream), {});
}

std::vector<Bytes> read_corpus(const std::vector<fs::path>& paths) {
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
  for (const fs::path& file : files) corpus.push_back(read_file(file));
  return corpus;
}

class Mutator {
 public:
  Mutator(const std::vector<Bytes>& corpus, std::uint64_t seed) : corpus_(corpus), random_(seed) {}

  Bytes next() {
    Bytes bytes = corpus_.empty() ? Bytes{} : corpus_[below(corpus_.size())];
    for (std::size_t changes = 1 + below(8); changes > 0; --changes) change(bytes);
    return bytes;
  }

 private:
  static constexpr std::size_t kGrowth = 64;

  std::size_t below(std::size_t n) { return static_cast<std::size_t>(random_() % n); }
  std::uint8_t byte() { return static_cast<std::uint8_t>(random_()); }

  void change(Bytes& bytes) {
    if (bytes.empty()) return grow(bytes);
    const std::size_t at = below(bytes.size());
    switch (below(6)) {
      case 0:
        bytes[at] ^= static_cast<std::uint8_t>(1u << below(8));
        break;
      case 1:
        bytes[at] = byte();
        break;
      case 2:  // the values length fields break on
        bytes[at] = below(2) == 0 ? 0x00 : 0xff;
        break;
      case 3:
        bytes.resize(at);
        break;
      case 4:
        bytes.erase(bytes.begin() + static_cast<std::ptrdiff_t>(at));
        break;
      default:
        grow(bytes);
    }
  }

  void grow(Bytes& bytes) {
    for (std::size_t n = 1 + below(kGrowth); n > 0; --n) bytes.push_back(byte());
  }

  const std::vector<Bytes>& corpus_;
  std::mt19937_64 random_;
};

// Written before the run and removed at the end, so what remains is the input that crashed.
class LastInput {
 public:
  explicit LastInput(const char* driver) : path_(fs::path(driver).filename() += ".last-input") {}
  ~LastInput() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  void run(const Bytes& bytes) {
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  }

 private:
  fs::path path_;
};

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  const std::vector<Bytes> corpus = read_corpus(options.paths);
  LastInput last(argv[0]);
  for (const Bytes& bytes : corpus) last.run(bytes);
  Mutator mutator(corpus, options.seed);
  for (std::uint64_t i = 0; i < options.runs; ++i) last.run(mutator.next());
  std::printf("%zu files and %llu mutations\n", corpus.size(),
              static_cast<unsigned long long>(options.runs));
}
