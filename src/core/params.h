// Parameters are described once and visited: a struct lists its fields in
//
//   template <class V> void visit(V&& v) {
//     v("bits", bits, "bits per code", Range{2, 8});
//     v("scope", scope, "what shares a basis", Choice{"head", "layer", "model"});
//   }
//
// and parsing, printing, defaults, help, the manual and the unknown-key error follow from that.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvsplice/result.h"

namespace kvsplice {

struct Range {
  double low, high;
};

struct Choice {
  std::vector<std::string> names;
  Choice(std::initializer_list<std::string> list) : names(list) {}
};

// Any text, such as a list of files (never in pipeline text); `what` says what is expected.
struct FreeText {
  std::string what;
};

struct ParamInfo {
  std::string name;
  std::string type;           // "integer", "integers", "number", "word"
  std::string default_value;  // as text; empty when the parameter has none
  std::string allowed;        // "2 ... 8" or "head, layer, model"
  std::string help;
};

using KeyValues = std::vector<std::pair<std::string, std::string>>;

namespace params_detail {
std::string print(int v);
std::string print(double v);
std::string print(const std::vector<int>& v);
inline std::string print(const std::string& v) { return v; }
template <class T>
std::string print(const std::optional<T>& v) {
  return v ? print(*v) : std::string();
}
Result<> parse(std::string_view key, std::string_view text, const Range& range, int& out);
Result<> parse(std::string_view key, std::string_view text, const Range& range, double& out);
Result<> parse(std::string_view key, std::string_view text, const Choice& choice, std::string& out);
Result<> parse(std::string_view key, std::string_view text, const Range& range,
               std::vector<int>& out);
Result<> parse(std::string_view key, std::string_view text, const FreeText& any, std::string& out);
template <class T, class Limits>
Result<> parse(std::string_view key, std::string_view text, const Limits& limits,
               std::optional<T>& out) {
  return parse(key, text, limits, out.emplace());
}
std::string allowed(const Range& range);
std::string allowed(const Choice& choice);
inline std::string allowed(const FreeText& any) { return any.what; }
inline const char* type_name(const int&) { return "integer"; }
inline const char* type_name(const double&) { return "number"; }
inline const char* type_name(const std::string&) { return "word"; }
inline const char* type_name(const std::vector<int>&) { return "integers"; }
template <class T>
const char* type_name(const std::optional<T>&) {
  return type_name(T{});
}
Error unknown_key(std::string_view owner, std::string_view key,
                  const std::vector<ParamInfo>& known);
}  // namespace params_detail

// Fields may be int, double, std::string (with a Choice or FreeText), a list of int (never in
// pipeline text, whose commas separate parameters) or std::optional of these (no default).
template <class P>
std::vector<ParamInfo> describe(P params = {}) {
  std::vector<ParamInfo> list;
  params.visit([&](const char* key, auto& field, const char* help, const auto& limits) {
    list.push_back({key, params_detail::type_name(field), params_detail::print(field),
                    params_detail::allowed(limits), help});
  });
  return list;
}

// Parses `pairs` over the defaults. `owner` names the thing configured, for the error message.
template <class P>
Result<P> parse_params(std::string_view owner, const KeyValues& pairs, P params = {}) {
  for (const auto& [key, text] : pairs) {
    bool known = false;
    Result<> parsed;
    params.visit([&, &key = key, &text = text](const char* name, auto& field, const char*,
                                               const auto& limits) {
      if (key != name) return;
      known = true;
      parsed = params_detail::parse(std::string(owner) + "." + name, text, limits, field);
    });
    if (!known) return params_detail::unknown_key(owner, key, describe<P>());
    KVS_TRY(parsed);
  }
  return params;
}

}  // namespace kvsplice
