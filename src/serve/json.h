// JSON as the programs around us speak it. Keys stay in their order.
#pragma once

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "kvsplice/result.h"

namespace kvsplice::serve {

using Json = nlohmann::ordered_json;

// Values are walked and copied by calls within calls, for which a thread's stack has only so much
// room.
constexpr int kDeepestJson = 512;
// A value takes some twenty times the bytes of its text, and a prompt has no more tokens than that.
constexpr size_t kMostJson = size_t{1} << 22;

// Nothing if the text is no JSON, nested too deeply, or of too many values.
inline std::optional<Json> parse_json(const std::string& text) {
  bool too_much = false;
  size_t values = 0;
  const auto look = [&](int depth, Json::parse_event_t, Json&) {
    too_much = too_much || depth > kDeepestJson || ++values > kMostJson;
    return !too_much;
  };
  Json value = Json::parse(text, look, false);
  if (value.is_discarded() || too_much) return std::nullopt;
  return value;
}

// Text that is no UTF-8 is replaced, not refused.
inline std::string print_json(const Json& value, int indent = -1) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

// A member of an object, if it is there and a number.
inline std::optional<double> number_at(const Json& value, const char* key) {
  if (!value.is_object()) return std::nullopt;
  const auto at = value.find(key);
  if (at == value.end() || !at->is_number()) return std::nullopt;
  return at->get<double>();
}

// The same as a count: 0 if it is not there or below 0.
inline size_t count_at(const Json& value, const char* key) {
  return static_cast<size_t>(std::max(0.0, number_at(value, key).value_or(0)));
}

inline bool flag_at(const Json& value, const char* key) {
  if (!value.is_object()) return false;
  const auto at = value.find(key);
  return at != value.end() && at->is_boolean() && at->get<bool>();
}

inline std::string text_at(const Json& value, const char* key) {
  if (!value.is_object()) return {};
  const auto at = value.find(key);
  return at != value.end() && at->is_string() ? at->get<std::string>() : std::string();
}

}  // namespace kvsplice::serve
