// Redis or Valkey as a remote: one key for each value, which appears whole and goes after a time.
#pragma once

#include <memory>

#include "store/remote/remote.h"
#include "store/remote/remote_url.h"

namespace kvsplice::store {

std::unique_ptr<Remote> make_redis(RemoteUrl url);

}  // namespace kvsplice::store
