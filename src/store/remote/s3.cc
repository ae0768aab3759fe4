#include "store/remote/s3.h"

#include <fmt/format.h>

#include <cstdlib>

#include "core/errors.h"
#include "store/remote/http_calls.h"

namespace kvsplice::store {

namespace {

constexpr size_t kAtOnce = 16;            // requests
constexpr uint64_t kMostError = 1 << 16;  // bytes of what S3 says when it refuses

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

// Nothing if the call was answered with 404.
Result<bool> was_found(const HttpCall& call) {
  if (call.status >= 200 && call.status < 300) return true;
  if (call.status == 404) return false;
  if (call.status == 0) return Error{ErrorKind::io, "S3: " + call.error};
  return Error{ErrorKind::unsupported, fmt::format("S3: status {}", call.status)};
}

class S3 final : public Remote {
 public:
  S3(RemoteUrl url, std::unique_ptr<HttpCalls> calls)
      : url_(std::move(url)), calls_(std::move(calls)) {}

  Result<std::vector<uint64_t>> sizes(std::span<const Hash> names, Patience& patience) override;
  Result<> get(std::span<const Hash> names, uint64_t most, Patience& patience,
               std::vector<Bytes>& found) override;
  Result<> put(const Hash& name, ByteSpan value, Patience& patience) override;
  Result<> drop(const Hash& name, Patience& patience) override;
  Result<std::optional<uint64_t>> count(Patience& patience) override;
  std::string where() const override { return url_.shown(); }

 private:
  HttpCall call(HttpCall::Method method, const Hash& name, uint64_t most) const;
  Result<bool> run_one(HttpCall& call, Patience& patience);

  const RemoteUrl url_;
  const std::unique_ptr<HttpCalls> calls_;
};

HttpCall S3::call(HttpCall::Method method, const Hash& name, uint64_t most) const {
  HttpCall call;
  call.method = method;
  call.url = fmt::format("http{}://{}/{}/{}{}", url_.encrypted ? "s" : "", url_.authority(),
                         url_.bucket, url_.prefix, name.hex());
  call.most = most;
  return call;
}

// Some at a time, for as long as they are there: names come in the order of a prompt, and behind
// one that is missing no other is of use.
Result<std::vector<uint64_t>> S3::sizes(std::span<const Hash> names, Patience& patience) {
  std::vector<uint64_t> sizes;
  while (sizes.size() < names.size()) {
    std::vector<HttpCall> calls;
    for (const Hash& name : names.subspan(sizes.size())) {
      if (calls.size() == kAtOnce) break;
      calls.push_back(call(HttpCall::Method::head, name, kMostError));
    }
    const Result<> done = calls_->run(calls, patience);
    if (!done.ok() && !sizes.empty()) break;  // what is known by now is of use
    KVS_TRY(done);
    bool all = true;
    for (const HttpCall& call : calls) {
      KVS_ASSIGN(const bool found, was_found(call));
      sizes.push_back(found ? call.length : 0);
      all = all && found;
    }
    if (!all) break;
  }
  sizes.resize(names.size());
  return sizes;
}

Result<> S3::get(std::span<const Hash> names, uint64_t most, Patience& patience,
                 std::vector<Bytes>& found) {
  found.assign(names.size(), {});
  std::vector<HttpCall> calls;
  for (const Hash& name : names) {
    calls.push_back(call(HttpCall::Method::get, name, std::max(most, kMostError)));
  }
  const Result<> done = calls_->run(calls, patience);
  Result<> failed;
  for (size_t i = 0; i < calls.size(); ++i) {
    const auto was = was_found(calls[i]);
    if (was.ok() && *was && calls[i].body.size() <= most) found[i] = std::move(calls[i].body);
    if (!was.ok()) failed = was.error();
  }
  return done.ok() ? failed : done;
}

Result<bool> S3::run_one(HttpCall& call, Patience& patience) {
  KVS_TRY(calls_->run({&call, 1}, patience));
  return was_found(call);
}

Result<> S3::put(const Hash& name, ByteSpan value, Patience& patience) {
  HttpCall put = call(HttpCall::Method::put, name, kMostError);
  put.sent = value;
  KVS_ASSIGN(const bool done, run_one(put, patience));
  return done ? Result<>() : Error{ErrorKind::unsupported, "S3: no such bucket"};
}

Result<> S3::drop(const Hash& name, Patience& patience) {
  HttpCall drop = call(HttpCall::Method::drop, name, kMostError);
  KVS_TRY(run_one(drop, patience));
  return {};
}

// It lists a thousand at a time at best, so nothing is counted.
Result<std::optional<uint64_t>> S3::count(Patience& patience) {
  HttpCall bucket = call(HttpCall::Method::head, {}, kMostError);
  bucket.url =
      fmt::format("http{}://{}/{}", url_.encrypted ? "s" : "", url_.authority(), url_.bucket);
  KVS_ASSIGN(const bool found, run_one(bucket, patience));
  if (!found) return Error{ErrorKind::unsupported, "S3: no such bucket"};
  return std::optional<uint64_t>();
}

}  // namespace

Result<S3Keys> S3Keys::of_environment() {
  S3Keys keys = {environment("AWS_ACCESS_KEY_ID"), environment("AWS_SECRET_ACCESS_KEY"),
                 environment("AWS_REGION")};
  if (keys.region.empty()) keys.region = "us-east-1";
  if (!keys.id.empty() && !keys.secret.empty()) return keys;
  return usage_error(
      "S3 needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, and AWS_REGION if "
      "it is not us-east-1");
}

Result<std::unique_ptr<Remote>> make_s3(RemoteUrl url, S3Keys keys) {
  KVS_ASSIGN(auto calls, HttpCalls::create(fmt::format("aws:amz:{}:s3", keys.region),
                                           keys.id + ':' + keys.secret));
  return std::unique_ptr<Remote>(std::make_unique<S3>(std::move(url), std::move(calls)));
}

}  // namespace kvsplice::store
