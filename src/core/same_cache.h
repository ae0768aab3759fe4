// Whether what was made of one model's cache serves for another's.
#pragma once

#include <string_view>

#include "core/shape.h"

namespace kvsplice {

// Errors are made of what was made and what it meets, such as "the codec was fitted for" ... "the
// model at hand" ... Names of models do not count: the fingerprint tells them apart.
Result<> same_model(std::string_view made_for, const ModelShape& shape, std::string_view here,
                    const ModelShape& met);

// The same model, the same layers and heads, and rotations that differ by rounding at most (other
// processors and libraries round their tables differently).
Result<> same_cache(std::string_view made_for, const ModelShape& shape, std::string_view here,
                    const ModelShape& met);

}  // namespace kvsplice
