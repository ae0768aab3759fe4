// HTTP requests of one service, several at once, by libcurl: signed as S3 wants it, and bounded in
// bytes and time.
#pragma once

#include <curl/curl.h>

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "store/remote/patience.h"

namespace kvsplice::store {

struct HttpCall {
  enum class Method { head, get, put, drop };
  Method method = Method::get;
  std::string url;
  ByteSpan sent;      // of a put; must outlive the call
  uint64_t most = 0;  // bytes of an answer
  // The answer; status 0: none.
  long status = 0;
  Bytes body;
  uint64_t length = 0;  // that it says it has
  std::string error;    // why there is none
};

class HttpCalls {
 public:
  // signature: as CURLOPT_AWS_SIGV4 wants it. Error io.
  static Result<std::unique_ptr<HttpCalls>> create(std::string signature, std::string user);

  // From any thread. Error io: out of patience; the calls that were answered until then say so.
  Result<> run(std::span<HttpCall> calls, Patience& patience);

 private:
  template <auto close>
  struct Close {
    template <class T>
    void operator()(T* t) const {
      close(t);
    }
  };
  using Multi = std::unique_ptr<CURLM, Close<curl_multi_cleanup>>;
  using Easy = std::unique_ptr<CURL, Close<curl_easy_cleanup>>;
  using Lines = std::unique_ptr<curl_slist, Close<curl_slist_free_all>>;
  struct Transfer;

  HttpCalls(std::string signature, std::string user)
      : signature_(std::move(signature)), user_(std::move(user)) {}
  Multi take_idle();
  void give_back(Multi multi);
  bool prepare(Transfer& transfer) const;
  static Result<> drive(CURLM* multi, Patience& patience);

  const std::string signature_, user_;
  std::mutex mutex_;
  std::vector<Multi> idle_;  // each with its connections
};

}  // namespace kvsplice::store
