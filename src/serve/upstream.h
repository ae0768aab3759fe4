// The llama-server behind the proxy, and what is asked of it: tokens of texts, and its slots.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "serve/json.h"

namespace httplib {
class Client;
}

namespace kvsplice::serve {

// Where it listens: on a Unix socket if one is named.
struct Address {
  std::string socket;
  std::string host;
  int port = 0;

  // HOST:PORT or http://HOST:PORT; error usage says what is legal.
  static Result<Address> parse(const std::string& url);
  std::string text() const;
};

struct ServerFacts {
  int slots = 0;
  size_t context = 0;  // tokens a slot has room for
  std::string model_path, build;
  bool is_asleep = false;  // without its model, until somebody asks
};

class Upstream {
 public:
  using Seconds = std::chrono::seconds;

  // api_key: of the server, if it wants one.
  Upstream(Address address, std::string api_key);

  const Address& address() const { return address_; }
  // A connection of one's own.
  std::unique_ptr<httplib::Client> connect(Seconds patience) const;

  // Errors of all calls: io if the server is not there or does not answer in time, mismatch with
  // its own words if it refuses.
  Result<> ready() const;  // it has loaded its model
  // Whether it answers a client with this key, which may be empty.
  bool takes_key(const std::string& key) const;
  Result<ServerFacts> facts() const;
  Result<std::vector<int32_t>> tokens_of(const Json& text) const;
  Result<std::string> prompt_of(const Json& chat) const;

  // Cells of a slot to a file of the folder that the server and we share, and back.
  struct Moved {
    size_t tokens = 0, bytes = 0;
    double seconds = 0;  // by the server's clock
  };
  Result<Moved> save(int slot, const std::string& file) const;
  Result<Moved> restore(int slot, const std::string& file) const;
  Result<> erase(int slot) const;

  // What the server takes for the next tokens, most likely first: for the self-test.
  struct Completion {
    std::vector<int32_t> tokens;
    size_t cached = 0;
  };
  Result<Completion> complete(int slot, std::span<const int32_t> prompt, int n) const;

  // The likeliest next tokens and their probabilities.
  using Likely = std::vector<std::pair<int32_t, double>>;
  Result<Likely> likely(int slot, std::span<const int32_t> prompt) const;

  Result<Json> get(const std::string& path, Seconds patience) const;
  Result<Json> post(const std::string& path, const Json& body, Seconds patience) const;

 private:
  Address address_;
  std::string api_key_;
};

}  // namespace kvsplice::serve
