// What every function of the C interface does: statuses out of Results, nothing thrown past it.
#pragma once

#include <functional>
#include <string>

#include "core/threads.h"
#include "kvsplice/kvsplice.h"
#include "kvsplice/result.h"

namespace kvsplice::api {

// The status of an error; fills `out` if it is not null.
kvs_status report(const Error& error, kvs_error* out);

// Runs work on the caller's threads, if there are any, and reports what becomes of it.
kvs_status guarded(const kvs_executor* executor, kvs_error* out,
                   const std::function<Result<>()>& work);

}  // namespace kvsplice::api
