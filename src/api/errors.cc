#include "api/errors.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <string>

#include "core/memory.h"

namespace kvsplice::api {

namespace {

kvs_status status_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::usage:
      return KVS_ERROR_USAGE;
    case ErrorKind::io:
      return KVS_ERROR_IO;
    case ErrorKind::format:
      return KVS_ERROR_FORMAT;
    case ErrorKind::mismatch:
      return KVS_ERROR_MISMATCH;
    case ErrorKind::unsupported:
      return KVS_ERROR_UNSUPPORTED;
    case ErrorKind::numeric:
      return KVS_ERROR_NUMERIC;
    case ErrorKind::memory:
      return KVS_ERROR_MEMORY;
    case ErrorKind::interrupted:
      return KVS_ERROR_INTERRUPTED;
  }
  return KVS_ERROR_USAGE;
}

kvs_status report(kvs_status status, const std::string& message, kvs_error* out) {
  if (out == nullptr) return status;
  out->status = status;
  size_t n = std::min(message.size(), sizeof out->message - 1);
  // No character is cut in two.
  while (n < message.size() && n > 0 && (message[n] & 0xc0) == 0x80) --n;
  std::memcpy(out->message, message.data(), n);
  out->message[n] = 0;
  return status;
}

Result<> without_throwing(const std::function<Result<>()>& work) {
  try {
    return within_memory(work);
  } catch (const std::exception& thrown) {
    return Error{ErrorKind::io, thrown.what()};
  }
}

}  // namespace

kvs_status guarded(kvs_error* out, const std::function<Result<>()>& work) {
  const Result<> done = without_throwing(work);
  if (done.ok()) return report(KVS_OK, {}, out);
  return report(status_of(done.error().kind), done.error().message, out);
}

Error missing(const char* what) { return {ErrorKind::usage, std::string("no ") + what}; }

}  // namespace kvsplice::api
