#include "simd/target.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <hwy/highway.h>

namespace kvsplice {

namespace {

// Of the processor, whatever has been chosen since.
const std::vector<int64_t>& available() {
  static const std::vector<int64_t> targets = hwy::SupportedAndGeneratedTargets();
  return targets;
}

void choose(int64_t targets) {  // 0: all
  hwy::SetSupportedTargetsForTest(targets);
  hwy::GetChosenTarget().DeInit();
}

}  // namespace

std::vector<std::string> simd_targets() {
  std::vector<std::string> names;
  for (int64_t target : available()) names.push_back(hwy::TargetName(target));
  return names;
}

Result<> use_simd_target(const std::string& name) {
  available();
  if (name.empty()) {
    choose(0);
    return {};
  }
  for (int64_t target : available()) {
    if (name == hwy::TargetName(target)) {
      choose(target);
      return {};
    }
  }
  return Error{ErrorKind::usage, fmt::format("no SIMD target '{}' here; legal: {}", name,
                                             fmt::join(simd_targets(), ", "))};
}

void for_each_simd_target(const std::function<void(const std::string& name)>& f) {
  for (int64_t target : available()) {
    choose(target);
    f(hwy::TargetName(target));
  }
  choose(0);
}

}  // namespace kvsplice
