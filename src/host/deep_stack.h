// A stack for functions that call themselves as often as their input is long.
#pragma once

#include <cstddef>
#include <functional>

#include "kvsplice/result.h"

namespace kvsplice::host {

// Calls `work`, which must not throw, on a thread of its own; error io if there cannot be one.
Result<> on_deep_stack(size_t bytes, const std::function<void()>& work);

}  // namespace kvsplice::host
