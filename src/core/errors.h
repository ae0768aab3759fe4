// Errors made of others, and those that are made often.
#pragma once

#include <string>

#include "kvsplice/result.h"

namespace kvsplice {

// The same, with the place it happened at before it.
inline Error within(const std::string& where, const Error& error) {
  return {error.kind, where + ": " + error.message};
}

inline Error usage_error(std::string message) { return {ErrorKind::usage, std::move(message)}; }
inline Error format_error(std::string message) { return {ErrorKind::format, std::move(message)}; }

}  // namespace kvsplice
