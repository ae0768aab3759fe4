#include "api/errors.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <optional>

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

// A caller's threads, as the library's loops see them.
class LentExecutor : public Executor {
 public:
  explicit LentExecutor(const kvs_executor& lent) : lent_(lent) {}
  int threads() const override { return std::max(1, lent_.threads); }
  void run(size_t n, const std::function<void(size_t)>& body) override {
    lent_.run(
        lent_.user, n,
        [](void* data, size_t i) { (*static_cast<const std::function<void(size_t)>*>(data))(i); },
        const_cast<std::function<void(size_t)>*>(&body));
  }

 private:
  kvs_executor lent_;
};

}  // namespace

kvs_status report(const Error& error, kvs_error* out) {
  const kvs_status status = status_of(error.kind);
  if (out == nullptr) return status;
  out->status = status;
  size_t n = std::min(error.message.size(), sizeof out->message - 1);
  // No character is cut in two.
  while (n < error.message.size() && n > 0 && (error.message[n] & 0xc0) == 0x80) --n;
  std::memcpy(out->message, error.message.data(), n);
  out->message[n] = 0;
  return status;
}

kvs_status guarded(const kvs_executor* executor, kvs_error* out,
                   const std::function<Result<>()>& work) {
  const auto done = within_memory([&]() -> Result<> {
    try {
      if (executor == nullptr) return work();
      LentExecutor lent(*executor);
      const UseExecutor use(lent);
      return work();
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& thrown) {
      return Error{ErrorKind::io, thrown.what()};
    }
  });
  if (!done.ok()) return report(done.error(), out);
  if (out != nullptr) {
    out->status = KVS_OK;
    out->message[0] = 0;
  }
  return KVS_OK;
}

}  // namespace kvsplice::api
