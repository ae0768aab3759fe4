#include "store/remote/remote.h"

#include "store/remote/redis.h"
#include "store/remote/remote_url.h"
#include "store/remote/s3.h"

namespace kvsplice::store {

Result<std::unique_ptr<Remote>> open_remote(const std::string& text) {
  KVS_ASSIGN(RemoteUrl url, RemoteUrl::parse(text));
  if (url.kind == RemoteUrl::Kind::redis) return make_redis(std::move(url));
  KVS_ASSIGN(S3Keys keys, S3Keys::of_environment());
  return make_s3(std::move(url), std::move(keys));
}

}  // namespace kvsplice::store
