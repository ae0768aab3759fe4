#include "experiments/train/options.h"

#include <fmt/format.h>

#include <algorithm>

#include "experiments/train/variants.h"

namespace kvsplice::experiment::train {

namespace {

constexpr Range kDeltas{1e-3, 1e3};

Error not_allowed(const char* key, const std::string& value, const std::string& legal) {
  return {ErrorKind::usage,
          fmt::format("train.{} = '{}' is not allowed; legal: {}", key, value, legal)};
}

}  // namespace

std::vector<double> Options::steps_of_codecs() const {
  std::vector<double> numbers;
  for (const auto& part : split(deltas)) {
    (void)params_detail::parse("deltas", part, kDeltas, numbers.emplace_back()).ok();
  }
  return numbers;
}

Options quick(Options options) {
  const auto at_most = [](int& value, int most) { value = std::min(value, most); };
  at_most(options.vocabulary, 996);
  at_most(options.width, 128);
  at_most(options.layers, 2);
  at_most(options.hidden, 352);
  at_most(options.length, 128);
  at_most(options.steps, 400);
  at_most(options.calibration, 8192);
  at_most(options.test_tokens, 4096);
  at_most(options.loop_calibration, 4096);
  return options;
}

Result<> check(const Options& o) {
  if (split(o.text).empty()) return not_allowed("text", o.text, "files, by commas");
  if (split(o.test_text).empty()) return not_allowed("test_text", o.test_text, "files, by commas");
  if (split(o.deltas).empty()) return not_allowed("deltas", o.deltas, "numbers, by commas");
  for (const auto& part : split(o.deltas)) {
    double number = 0;
    KVS_TRY(params_detail::parse("train.deltas", part, kDeltas, number));
  }
  KVS_ASSIGN(const auto variants, variants_of(o));
  for (const Variant& v : variants) {  // llama.cpp's blocks do not reach across heads
    const size_t dim = v.shape.head_dim;
    if (dim > 0 && dim % 32 == 0 && o.width % o.heads == 0) continue;
    return not_allowed("width", std::to_string(o.width),
                       fmt::format("multiples of {}, 32 for every head",
                                   v.name == "one_head" ? 128 : 32 * o.heads));
  }
  return {};
}

}  // namespace kvsplice::experiment::train
