#include "support/pipeline_mutator.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "codec/stage.h"
#include "support/driver.h"

namespace kvsplice::fuzz {

namespace {

using codec::StageInfo;

template <class List>
const auto& one_of(const List& list, Random& random) {
  return list[random.below(list.size())];
}

std::vector<std::string> words(const std::string& text, char separator) {
  std::vector<std::string> parts;
  for (size_t at = 0;;) {
    const size_t end = text.find(separator, at);
    parts.push_back(text.substr(at, end - at));
    if (end == text.npos) return parts;
    at = end + 1;
  }
}

// The default, a bound or a choice of the parameter, or a number it should refuse.
std::string value_of(const ParamInfo& param, Random& random) {
  static const std::vector<std::string> numbers = {
      "0", "1", "2", "3", "4", "8", "64", "0.5", "-1", "1e-300", "1e300", "4294967296", "nan", ""};
  switch (random.below(4)) {
    case 0:
      return param.default_value;
    case 1:
      return one_of(numbers, random);
    default: {
      const std::string word = one_of(words(param.allowed, ' '), random);
      return word.substr(0, word.find(','));
    }
  }
}

std::string random_stage(Random& random) {
  const StageInfo& info = one_of(codec::stage_table(), random);
  std::vector<std::string> pairs;
  for (const ParamInfo& p : info.params) {
    if (random.below(4) == 0) pairs.push_back(p.name + "=" + value_of(p, random));
  }
  return pairs.empty() ? info.name : fmt::format("{}({})", info.name, fmt::join(pairs, ","));
}

}  // namespace

Bytes mutate_pipeline(ByteSpan text, Random& random) {
  if (random.below(4) == 0) return mutate_bytes(text);
  std::vector<std::string> stages = words(std::string(text.begin(), text.end()), '|');
  const size_t i = random.below(stages.size());
  const auto at = stages.begin() + static_cast<ptrdiff_t>(i);
  switch (random.below(5)) {
    case 0:
      stages.erase(at);
      break;
    case 1:
      stages.insert(at, random_stage(random));
      break;
    case 2:
      std::swap(stages[i], stages[random.below(stages.size())]);
      break;
    case 3:
      stages[i] = fmt::format("k: {} ; v: {}", random_stage(random), stages[i]);
      break;
    default:
      stages[i] = random_stage(random);
  }
  const std::string joined = fmt::format("{}", fmt::join(stages, " | "));
  return Bytes(joined.begin(), joined.end());
}

}  // namespace kvsplice::fuzz
