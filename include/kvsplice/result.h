// Errors are values: what a call returns is either its result or one sentence saying what is wrong,
// which value was met and what would have been allowed.
#pragma once

#include <cassert>
#include <string>
#include <utility>
#include <variant>

namespace kvsplice {

enum class ErrorKind {
  usage,        // the caller's words: an unknown name, a value out of range
  io,           // the operating system refused
  format,       // bytes that are not what they claim to be
  mismatch,     // sound data that belongs to something else (another model, another codec)
  unsupported,  // sound, but outside what KVSplice handles
  numeric,      // not a number, no convergence, not enough data
  memory,       // there is not enough, or a caller's limit says so
  interrupted,  // stopped on request; what was finished is kept
};

struct Error {
  ErrorKind kind;
  std::string message;
};

struct Nothing {};

template <class T = Nothing>
class [[nodiscard]] Result {
 public:
  Result() requires std::is_default_constructible_v<T> : state_(T{}) {}
  Result(T value) : state_(std::move(value)) {}
  Result(Error error) : state_(std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { return assert(ok()), std::get<0>(state_); }
  const T& value() const& { return assert(ok()), std::get<0>(state_); }
  T&& value() && { return assert(ok()), std::get<0>(std::move(state_)); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }

  const Error& error() const { return assert(!ok()), std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

}  // namespace kvsplice

// Leaves the function with the error of `expr`, if it has one.
#define KVS_TRY(expr) KVS_TRY_AT_(expr, __COUNTER__)
#define KVS_TRY_AT_(expr, number) KVS_TRY_IN_(expr, number)
#define KVS_TRY_IN_(expr, number)                              \
  do {                                                         \
    if (auto kvs_done_##number = (expr); !kvs_done_##number) { \
      return kvs_done_##number.error();                        \
    }                                                          \
  } while (0)

// `KVS_ASSIGN(auto rows, read(...))`: declares or assigns the value, or leaves with the error.
#define KVS_ASSIGN(target, expr) KVS_ASSIGN_AT_(target, expr, __COUNTER__)
#define KVS_ASSIGN_AT_(target, expr, number) KVS_ASSIGN_IN_(target, expr, number)
#define KVS_ASSIGN_IN_(target, expr, number) \
  auto kvs_result_##number = (expr);         \
  if (!kvs_result_##number.ok()) {           \
    return kvs_result_##number.error();      \
  }                                          \
  target = std::move(kvs_result_##number).value()
