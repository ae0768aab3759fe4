#include "store/remote/redis.h"

#include <mutex>

#include "store/remote/redis_link.h"

namespace kvsplice::store {

namespace {

constexpr uint64_t kShort = 1 << 10;  // bytes of a reply that holds no value
constexpr size_t kMostIdle = 4;       // connections

Result<> strange() { return Error{ErrorKind::io, "Redis: an answer to something else"}; }

class Redis final : public Remote {
 public:
  explicit Redis(RemoteUrl url) : url_(std::move(url)) {}

  Result<std::vector<uint64_t>> sizes(std::span<const Hash> names, Patience& patience) override;
  Result<> get(std::span<const Hash> names, uint64_t most, Patience& patience,
               std::vector<Bytes>& found) override;
  Result<> put(const Hash& name, ByteSpan value, Patience& patience) override;
  Result<> drop(const Hash& name, Patience& patience) override;
  Result<std::optional<uint64_t>> count(Patience& patience) override;
  std::string where() const override { return url_.shown(); }

 private:
  std::string key(const Hash& name) const { return url_.prefix + name.hex(); }
  std::optional<RedisLink> take_idle();
  Result<> with_link(Patience& patience, const std::function<Result<>(RedisLink&)>& use);

  const RemoteUrl url_;
  std::mutex mutex_;
  std::vector<RedisLink> idle_;
};

std::optional<RedisLink> Redis::take_idle() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return std::nullopt;
  std::optional<RedisLink> link(std::move(idle_.back()));
  idle_.pop_back();
  return link;
}

// A connection that was idle when Redis was started anew is not Redis's failure.
Result<> Redis::with_link(Patience& patience, const std::function<Result<>(RedisLink&)>& use) {
  for (;;) {
    std::optional<RedisLink> link = take_idle();
    const bool was_idle = link.has_value();
    if (!was_idle) {
      KVS_ASSIGN(link, RedisLink::open(url_, patience));
    }
    const Result<> done = use(*link);
    if (!done.ok() && was_idle && link->was_closed()) continue;
    if (done.ok()) {
      const std::lock_guard lock(mutex_);
      if (idle_.size() < kMostIdle) idle_.push_back(std::move(*link));
    }
    return done;
  }
}

Result<std::vector<uint64_t>> Redis::sizes(std::span<const Hash> names, Patience& patience) {
  std::vector<uint64_t> sizes;
  KVS_TRY(with_link(patience, [&](RedisLink& link) {
    sizes.clear();
    for (const Hash& name : names) link.add({"STRLEN", key(name)});
    return link.run(kShort, patience, [&](const redisReply& reply) -> Result<> {
      if (reply.type != REDIS_REPLY_INTEGER || reply.integer < 0) return strange();
      sizes.push_back(static_cast<uint64_t>(reply.integer));
      return {};
    });
  }));
  return sizes;
}

Result<> Redis::get(std::span<const Hash> names, uint64_t most, Patience& patience,
                    std::vector<Bytes>& found) {
  return with_link(patience, [&](RedisLink& link) {
    found.assign(names.size(), {});
    for (const Hash& name : names) link.add({"GET", key(name)});
    return link.run(most, patience,
                    [&, i = size_t{0}](const redisReply& reply) mutable -> Result<> {
                      Bytes& value = found[i++];
                      if (reply.type == REDIS_REPLY_NIL) return {};
                      if (reply.type != REDIS_REPLY_STRING) return strange();
                      if (reply.len <= most) value.assign(reply.str, reply.str + reply.len);
                      return {};
                    });
  });
}

Result<> Redis::put(const Hash& name, ByteSpan value, Patience& patience) {
  const std::string_view text(reinterpret_cast<const char*>(value.data()), value.size());
  return with_link(patience, [&](RedisLink& link) {
    link.add({"SET", key(name), text, "EX", std::to_string(url_.ttl)});
    return link.run(kShort, patience, [](const redisReply& reply) {
      return reply.type == REDIS_REPLY_STATUS ? Result<>() : strange();
    });
  });
}

Result<> Redis::drop(const Hash& name, Patience& patience) {
  return with_link(patience, [&](RedisLink& link) {
    link.add({"DEL", key(name)});
    return link.run(kShort, patience, [](const redisReply&) { return Result<>(); });
  });
}

// Of all keys in its database, whosever they are: those of a prefix would have to be walked.
Result<std::optional<uint64_t>> Redis::count(Patience& patience) {
  std::optional<uint64_t> count;
  KVS_TRY(with_link(patience, [&](RedisLink& link) {
    link.add({"DBSIZE"});
    return link.run(kShort, patience, [&](const redisReply& reply) -> Result<> {
      if (reply.type != REDIS_REPLY_INTEGER || reply.integer < 0) return strange();
      count = static_cast<uint64_t>(reply.integer);
      return {};
    });
  }));
  return count;
}

}  // namespace

std::unique_ptr<Remote> make_redis(RemoteUrl url) {
  return std::make_unique<Redis>(std::move(url));
}

}  // namespace kvsplice::store
