#include "serve/cell_settings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>

#include "core/file_hash.h"
#include "core/half.h"

namespace kvsplice::serve {

namespace {

constexpr std::array kOptions = {"--rope-", "--yarn-", "--control-vector", "--override-kv"};
constexpr std::array kVariables = {"LLAMA_ARG_ROPE_", "LLAMA_ARG_YARN_"};
constexpr const char* kSelfTest = "\nself-test";  // a tenant; no key has line breaks
constexpr size_t kSinks = 4;     // first tokens, whose rows are large and much the same everywhere
constexpr double kMostOff = .1;  // of rows: other processors and kernels are off by a hundredth

template <size_t n>
bool begins_with_any(const std::string& text, const std::array<const char*, n>& beginnings) {
  return std::any_of(beginnings.begin(), beginnings.end(),
                     [&](const char* beginning) { return text.starts_with(beginning); });
}

// As in `-1` and `-0.5`, which are values.
bool is_option(const std::string& argument) {
  return argument.size() > 1 && argument[0] == '-' && !std::isdigit(argument[1]) &&
         argument[1] != '.';
}

// FILE or FILE:SCALE: by the file's bytes. All else stands for itself.
std::string by_content(const std::string& value) {
  for (const size_t end : {value.size(), value.rfind(':')}) {
    if (end == value.npos) continue;
    const auto hash = hash_file(value.substr(0, end));
    if (hash.ok()) return "file " + hash->hash + value.substr(end);
  }
  return value;
}

std::string joined(std::vector<std::string> parts) {
  std::sort(parts.begin(), parts.end());
  return fmt::format("{}", fmt::join(parts, "; "));
}

// Values stand behind the option, or in it, behind a '='.
std::string with_values(const std::vector<std::string>& arguments, size_t at) {
  const size_t equals = arguments[at].find('=');
  std::string all = arguments[at].substr(0, equals);
  if (equals != std::string::npos) return all + ' ' + by_content(arguments[at].substr(equals + 1));
  for (size_t i = at + 1; i < arguments.size() && !is_option(arguments[i]); ++i) {
    all += ' ' + by_content(arguments[i]);
  }
  return all;
}

// |a - b| / |b| of the rows behind the sinks, the mean of all layers' keys and values.
double distance(const KvBlock<uint16_t>& a, const KvBlock<uint16_t>& b) {
  double sum = 0;
  size_t count = 0;
  for (const Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < a.of(kind).size(); ++l) {
      const auto &x = a.of(kind)[l], &y = b.of(kind)[l];
      double off = 0, all = 1e-12;
      for (size_t i = kSinks * x.cols(); i < std::min(x.size(), y.size()); ++i) {
        const double p = from_half(x.data()[i]), q = from_half(y.data()[i]);
        off += (p - q) * (p - q);
        all += q * q;
      }
      sum += std::sqrt(off / all);
      ++count;
    }
  }
  return sum / double(std::max<size_t>(1, count));
}

}  // namespace

std::vector<std::string> environment() {
  std::vector<std::string> all;
  for (char** variable = environ; *variable != nullptr; ++variable) all.emplace_back(*variable);
  return all;
}

std::string cell_settings(const std::vector<std::string>& arguments,
                          const std::vector<std::string>& environment) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (begins_with_any(arguments[i], kOptions)) parts.push_back(with_values(arguments, i));
  }
  for (const std::string& variable : environment) {
    if (begins_with_any(variable, kVariables)) parts.push_back(variable);
  }
  return joined(std::move(parts));
}

Result<std::string> adapter_settings(const Upstream& upstream) {
  KVS_ASSIGN(const Json adapters, upstream.get("/lora-adapters", Upstream::Seconds(600)));
  std::vector<std::string> parts;
  for (const Json& adapter : adapters) {
    const double scale = number_at(adapter, "scale").value_or(0);
    if (scale == 0) continue;
    parts.push_back(fmt::format("adapter {} {:g}", by_content(text_at(adapter, "path")), scale));
  }
  return joined(std::move(parts));
}

Result<> check_cells(const CellBank& exact, const KvBlock<uint16_t>& cells) {
  KVS_ASSIGN(const store::Match match, exact.find(kSelfTest, cells.tokens));
  if (match.tokens < cells.count()) {
    KVS_TRY(exact.Bank::keep(kSelfTest, cells, cells.count()));
    return {};
  }
  KvBlock<uint16_t> kept(exact.coder().shape, Space::cached, 0, cells.count());
  KVS_TRY(exact.read(match, cells.tokens, place_of(kept, cells.count())));
  const double off = distance(cells, kept);
  if (off <= kMostOff) return {};
  return Error{ErrorKind::unsupported,
               fmt::format("this server computes other cells of a text than those in the store "
                           "({:.0f} % off): its rotations or weights are others; name another "
                           "--store",
                           100 * off)};
}

}  // namespace kvsplice::serve
