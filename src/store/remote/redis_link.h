// One connection to a Redis: commands out, replies in, for as long as somebody has patience.
#pragma once

#include <hiredis.h>

#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

#include "core/bytes.h"
#include "store/remote/patience.h"
#include "store/remote/remote_url.h"

namespace kvsplice::store {

class RedisLink {
 public:
  // Connected, logged in, at its database. Error io; unsupported if it refuses the password.
  static Result<RedisLink> open(const RemoteUrl& url, Patience& patience);

  void add(std::initializer_list<std::string_view> command);
  // Sends what was added and hands on its replies in order, none longer than `most` bytes. After an
  // error the connection is of no use. Error unsupported: Redis refuses, in its own words.
  Result<> run(uint64_t most, Patience& patience,
               const std::function<Result<>(const redisReply&)>& take);
  // Redis had ended the connection, as it does when it restarts.
  bool was_closed() const { return closed_; }

 private:
  struct Close {
    void operator()(redisContext* c) const { redisFree(c); }
  };
  explicit RedisLink(redisContext* context) : context_(context) {}
  static Result<RedisLink> connect(const RemoteUrl& url, Patience& patience);
  Result<> log_in(const RemoteUrl& url, Patience& patience);
  Result<> wait(short events, Patience& patience);
  Result<> wait_until_connected(Patience& patience);
  Result<> send(Patience& patience);
  Result<> receive(uint64_t most, Patience& patience);
  Result<> lost(const char* what);

  std::unique_ptr<redisContext, Close> context_;
  std::string out_;
  size_t commands_ = 0;
  bool closed_ = false;
};

}  // namespace kvsplice::store
