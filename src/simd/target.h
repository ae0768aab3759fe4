// Which instruction set the kernels use. Normally the best one the processor has; tests walk all.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kvsplice/result.h"

namespace kvsplice {

std::vector<std::string> simd_targets();            // compiled and supported here, best first
Result<> use_simd_target(const std::string& name);  // for the whole process; "": the best one

// Calls f once per target and returns to the best one.
void for_each_simd_target(const std::function<void(const std::string& name)>& f);

}  // namespace kvsplice
