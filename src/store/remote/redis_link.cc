#include "store/remote/redis_link.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "store/remote/host_address.h"

namespace kvsplice::store {

namespace {

Error no_answer(const std::string& what) { return {ErrorKind::io, "Redis: " + what}; }

// Nothing that is asked for has arrays in its answer, and one could claim any number of elements.
void* refuse_array(const redisReadTask*, int) { return nullptr; }

redisReplyObjectFunctions* without_arrays(const redisReplyObjectFunctions* usual) {
  static redisReplyObjectFunctions functions = [&] {
    redisReplyObjectFunctions f = *usual;
    f.createArray = refuse_array;
    return f;
  }();
  return &functions;
}

struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};

// Words of a stranger, for a line of a log.
std::string plain(const char* text, size_t size) {
  std::string out(text, std::min<size_t>(size, 100));
  for (char& c : out) {
    if (c < ' ' || c > '~') c = '?';
  }
  return out;
}

Result<> check(const redisReply& reply) {
  if (reply.type != REDIS_REPLY_ERROR) return {};
  return Error{ErrorKind::unsupported, "Redis: " + plain(reply.str, reply.len)};
}

}  // namespace

Result<> RedisLink::lost(const char* what) {
  closed_ = true;
  return no_answer(what);
}

Result<> RedisLink::wait(short events, Patience& patience) {
  for (;;) {
    const Milliseconds left = patience.left();
    if (left == Milliseconds(0)) return no_answer("no answer in time");
    pollfd at{context_->fd, events, 0};
    const int ready = ::poll(&at, 1, static_cast<int>(left.count()));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return no_answer(std::strerror(errno));
  }
}

Result<> RedisLink::wait_until_connected(Patience& patience) {
  KVS_TRY(wait(POLLOUT, patience));
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(context_->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  return error == 0 ? Result<>() : no_answer(std::strerror(error));
}

Result<RedisLink> RedisLink::connect(const RemoteUrl& url, Patience& patience) {
  std::vector<std::string> addresses = {url.socket};
  if (url.socket.empty()) {
    KVS_ASSIGN(addresses, addresses_of(url.host, patience));
  }
  Error last = no_answer("no address");
  for (const std::string& address : addresses) {
    redisContext* context = url.socket.empty() ? redisConnectNonBlock(address.c_str(), url.port)
                                               : redisConnectUnixNonBlock(address.c_str());
    if (context == nullptr) return Error{ErrorKind::memory, "out of memory"};
    RedisLink link(context);
    if (context->err != 0) {
      last = no_answer(context->errstr);
      continue;
    }
    context->reader->fn = without_arrays(context->reader->fn);
    const auto connected = link.wait_until_connected(patience);
    if (connected.ok()) return link;
    last = connected.error();
  }
  return last;
}

// What Redis says of a password could hold the password.
Result<> RedisLink::log_in(const RemoteUrl& url, Patience& patience) {
  constexpr uint64_t kShort = 1 << 10;
  if (!url.password.empty()) {
    if (url.user.empty()) {
      add({"AUTH", url.password});
    } else {
      add({"AUTH", url.user, url.password});
    }
    auto done = run(kShort, patience, check);
    if (!done.ok() && done.error().kind == ErrorKind::unsupported) {
      return Error{ErrorKind::unsupported, "Redis refuses the password"};
    }
    KVS_TRY(std::move(done));
  }
  if (url.database == 0) return {};
  add({"SELECT", std::to_string(url.database)});
  return run(kShort, patience, check);
}

Result<RedisLink> RedisLink::open(const RemoteUrl& url, Patience& patience) {
  KVS_ASSIGN(RedisLink link, connect(url, patience));
  KVS_TRY(link.log_in(url, patience));
  return link;
}

void RedisLink::add(std::initializer_list<std::string_view> command) {
  out_ += fmt::format("*{}\r\n", command.size());
  for (const std::string_view part : command) {
    out_ += fmt::format("${}\r\n", part.size());
    out_ += part;
    out_ += "\r\n";
  }
  ++commands_;
}

Result<> RedisLink::send(Patience& patience) {
  for (size_t at = 0; at < out_.size();) {
    KVS_TRY(wait(POLLOUT, patience));
    const ssize_t sent = ::send(context_->fd, out_.data() + at, out_.size() - at, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return lost(std::strerror(errno));
    if (sent <= 0) continue;
    at += static_cast<size_t>(sent);
    patience.got(static_cast<uint64_t>(sent));
  }
  out_.clear();
  return {};
}

// Some bytes; the reader keeps them until they are a reply.
Result<> RedisLink::receive(uint64_t most, Patience& patience) {
  constexpr uint64_t kAround = 1 << 16;  // of the next reply, and of the protocol
  KVS_TRY(wait(POLLIN, patience));
  const size_t before = context_->reader->len - context_->reader->pos;
  if (redisBufferRead(context_.get()) != REDIS_OK) return lost(context_->errstr);
  const size_t after = context_->reader->len - context_->reader->pos;
  if (after > most + kAround) return no_answer("a reply of more bytes than it may have");
  patience.got(after - before);
  return {};
}

Result<> RedisLink::run(uint64_t most, Patience& patience,
                        const std::function<Result<>(const redisReply&)>& take) {
  KVS_TRY(send(patience));
  for (; commands_ > 0; --commands_) {
    void* next = nullptr;
    for (;;) {
      if (redisGetReplyFromReader(context_.get(), &next) != REDIS_OK) {
        return no_answer("an answer that is none");
      }
      if (next != nullptr) break;
      KVS_TRY(receive(most, patience));
    }
    const std::unique_ptr<redisReply, FreeReply> reply(static_cast<redisReply*>(next));
    KVS_TRY(check(*reply));
    KVS_TRY(take(*reply));
  }
  return {};
}

}  // namespace kvsplice::store
