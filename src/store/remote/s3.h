// A bucket of an S3-compatible service as a remote: one object for each value. Values go when the
// rules of the bucket say so.
#pragma once

#include <memory>

#include "store/remote/remote.h"
#include "store/remote/remote_url.h"

namespace kvsplice::store {

struct S3Keys {
  std::string id, secret, region;

  // AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if it is not us-east-1, AWS_REGION. Error usage
  // names what is missing.
  static Result<S3Keys> of_environment();
};

Result<std::unique_ptr<Remote>> make_s3(RemoteUrl url, S3Keys keys);

}  // namespace kvsplice::store
