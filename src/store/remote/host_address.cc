#include "store/remote/host_address.h"

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

namespace kvsplice::store {

namespace {

struct Asked {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  std::vector<std::string> found;
};

std::vector<std::string> look_up(const std::string& host, int flags) {
  addrinfo wanted{}, *list = nullptr;
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = flags;
  std::vector<std::string> found;
  if (::getaddrinfo(host.c_str(), nullptr, &wanted, &list) != 0) return found;
  for (const int family : {AF_INET, AF_INET6}) {
    for (const addrinfo* at = list; at != nullptr; at = at->ai_next) {
      char text[NI_MAXHOST];
      if (at->ai_family == family && ::getnameinfo(at->ai_addr, at->ai_addrlen, text, sizeof text,
                                                   nullptr, 0, NI_NUMERICHOST) == 0) {
        found.emplace_back(text);
      }
    }
  }
  ::freeaddrinfo(list);
  return found;
}

// A thread that ends when the system's resolver does, which may be long after nobody waits for it.
Result<> begin(const std::shared_ptr<Asked>& asked, const std::string& host) try {
  std::thread([asked, host] {
    auto found = look_up(host, 0);
    const std::lock_guard lock(asked->mutex);
    asked->found = std::move(found);
    asked->done = true;
    asked->changed.notify_all();
  }).detach();
  return {};
} catch (const std::system_error&) {
  return Error{ErrorKind::io, "no thread to look up a host's address"};
}

}  // namespace

Result<std::vector<std::string>> addresses_of(const std::string& host, Patience& patience) {
  auto found = look_up(host, AI_NUMERICHOST);  // asks nobody
  if (!found.empty()) return found;
  const auto asked = std::make_shared<Asked>();
  KVS_TRY(begin(asked, host));
  std::unique_lock lock(asked->mutex);
  while (!asked->done) {
    const Milliseconds left = patience.left();
    if (left == Milliseconds(0)) return Error{ErrorKind::io, host + ": no address in time"};
    asked->changed.wait_for(lock, left);
  }
  if (asked->found.empty()) return Error{ErrorKind::io, host + ": no such host"};
  return asked->found;
}

}  // namespace kvsplice::store
