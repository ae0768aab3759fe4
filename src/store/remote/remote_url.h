// Where a remote is, as one writes it:
//   redis://[[USER]:PASSWORD@]HOST[:PORT][/DB][?prefix=TEXT&ttl=TIME]
//   unix://[[USER]:PASSWORD@]/PATH/OF/SOCKET[?db=DB&prefix=TEXT&ttl=TIME]
//   s3+http://HOST[:PORT]/BUCKET[/PREFIX], s3+https://...
#pragma once

#include <cstdint>
#include <string>

#include "kvsplice/result.h"

namespace kvsplice::store {

struct RemoteUrl {
  enum class Kind { redis, s3 };
  Kind kind = Kind::redis;
  std::string socket;  // or host and port
  std::string host;    // without the brackets of IPv6
  int port = 0;
  std::string user, password;    // of Redis
  int database = 0;              // of Redis
  uint64_t ttl = 7 * 24 * 3600;  // seconds; of Redis
  bool encrypted = false;        // https
  std::string bucket;
  std::string prefix;  // of all names

  // Error usage: says what is legal, and nothing of what was written, which may hold a password.
  static Result<RemoteUrl> parse(const std::string& text);
  std::string shown() const;      // without user and password
  std::string authority() const;  // HOST:PORT
};

}  // namespace kvsplice::store
