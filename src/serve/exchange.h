// One request on its way to the server, and its answer on the way back as it comes. The answer is
// read, and handed on, by a thread of its own, so that whoever waits for it can notice that the
// client has left; then the connection to the server is closed, and it stops working.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "serve/upstream.h"

namespace kvsplice::serve {

using Headers = std::vector<std::pair<std::string, std::string>>;
// The key by which a client says who it is, as llama-server looks for it; empty if it has none.
std::string key_of(const Headers& headers);

struct OutgoingRequest {
  std::string method, target;  // target: path and query as the client wrote them
  Headers headers;
  std::string body;
};

struct AnswerHead {
  int status = 0;
  Headers headers;
};

class Exchange {
 public:
  Exchange(const Upstream& upstream, OutgoingRequest request);
  ~Exchange();  // cancels what is still under way
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // Waits for the head of the answer. `gone` is asked now and then whether nobody waits any more.
  // Errors: io if the server cannot be reached or breaks off, usage if nobody waits.
  Result<AnswerHead> head(const std::function<bool()>& gone);

  // Hands the body to the receiver as it comes, and returns when it has ended: true if nothing was
  // missing. The receiver is called by the reading thread, which saves the waking of another for
  // each token; false from it, or from `gone`, ends the answer.
  using Receiver = std::function<bool(const char* bytes, size_t n)>;
  bool pour(const Receiver& receiver, const std::function<bool()>& gone);
  void cancel();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvsplice::serve
