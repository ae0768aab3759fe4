#include "host/cache_type.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "host/model.h"

namespace kvsplice::host {

ggml_type ggml_type_of(CacheType type) {
  switch (type) {
    case CacheType::f32:
      return GGML_TYPE_F32;
    case CacheType::f16:
      return GGML_TYPE_F16;
    case CacheType::q8_0:
      return GGML_TYPE_Q8_0;
    case CacheType::q5_1:
      return GGML_TYPE_Q5_1;
    case CacheType::q5_0:
      return GGML_TYPE_Q5_0;
    case CacheType::q4_1:
      return GGML_TYPE_Q4_1;
    case CacheType::q4_0:
      return GGML_TYPE_Q4_0;
  }
  return GGML_TYPE_COUNT;
}

// In the order of the enumeration.
const std::vector<std::string>& cache_type_names() {
  static const std::vector<std::string> names = {"f32",  "f16",  "q8_0", "q5_1",
                                                 "q5_0", "q4_1", "q4_0"};
  return names;
}

Result<CacheType> parse_cache_type(const std::string& name) {
  const auto& names = cache_type_names();
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return static_cast<CacheType>(i);
  }
  return Error{ErrorKind::usage, fmt::format("cache type '{}' is unknown; known are {}", name,
                                             fmt::join(names, ", "))};
}

double bits_per_value(CacheType type) {
  const ggml_type t = ggml_type_of(type);
  return 8.0 * double(ggml_type_size(t)) / double(ggml_blck_size(t));
}

const char* name(Signal signal) {
  switch (signal) {
    case Signal::key_before_rope:
      return "k_pre";
    case Signal::key:
      return "k";
    case Signal::value:
      return "v";
    case Signal::query:
      return "q";
  }
  return "";
}

}  // namespace kvsplice::host
