// What every function of the C interface does: statuses out of Results, nothing thrown past it.
#pragma once

#include <functional>

#include "kvsplice/kvsplice.h"
#include "kvsplice/result.h"

namespace kvsplice::api {

// Does the work and reports what becomes of it; fills `out` if it is not null.
kvs_status guarded(kvs_error* out, const std::function<Result<>()>& work);

// "no <what>"
Error missing(const char* what);

}  // namespace kvsplice::api
