#pragma once

#include <ggml.h>

#include "host/model.h"

namespace kvsplice::host {

ggml_type ggml_type_of(CacheType type);
inline bool is_float(CacheType type) { return type == CacheType::f32 || type == CacheType::f16; }

}  // namespace kvsplice::host
