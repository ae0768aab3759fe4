// A remote in memory that fails in all the ways it is told to.
#pragma once

#include <map>
#include <mutex>
#include <thread>

#include "store/remote/remote.h"

namespace kvsplice::store {

// What several fakes share, as machines share a server.
struct FakeServer {
  enum class Fault { none, dead, slow, full, lying, half };
  std::mutex mutex;
  std::map<Hash, Bytes> values;
  Fault fault = Fault::none;
  int calls = 0;
  std::vector<std::string> log;  // puts and drops, in order

  void set(Fault to) {
    const std::lock_guard lock(mutex);
    fault = to;
    calls = 0;
  }
  int count_calls() {
    const std::lock_guard lock(mutex);
    return calls;
  }
};

class FakeRemote final : public Remote {
 public:
  using Fault = FakeServer::Fault;
  explicit FakeRemote(FakeServer& server) : server_(server) {}

  Result<std::vector<uint64_t>> sizes(std::span<const Hash> names, Patience& patience) override {
    KVS_TRY(suffer(patience));
    const std::lock_guard lock(server_.mutex);
    std::vector<uint64_t> sizes;
    for (const Hash& name : names) {
      const auto at = server_.values.find(name);
      sizes.push_back(at == server_.values.end() ? 0 : at->second.size());
    }
    return sizes;
  }

  Result<> get(std::span<const Hash> names, uint64_t most, Patience& patience,
               std::vector<Bytes>& found) override {
    KVS_TRY(suffer(patience));
    const std::lock_guard lock(server_.mutex);
    found.assign(names.size(), {});
    for (size_t i = 0; i < names.size(); ++i) {
      const auto at = server_.values.find(names[i]);
      if (at == server_.values.end() || at->second.size() > most) continue;
      if (server_.fault == Fault::half && i == 1) return no_answer();
      found[i] = at->second;
      if (server_.fault == Fault::lying) found[i].back() ^= 1;
      patience.got(found[i].size());
    }
    return {};
  }

  Result<> put(const Hash& name, ByteSpan value, Patience& patience) override {
    KVS_TRY(suffer(patience));
    const std::lock_guard lock(server_.mutex);
    if (server_.fault == Fault::full) return Error{ErrorKind::unsupported, "OOM"};
    server_.values[name] = Bytes(value.begin(), value.end());
    server_.log.push_back("put " + name.hex());
    return {};
  }

  Result<> drop(const Hash& name, Patience& patience) override {
    KVS_TRY(suffer(patience));
    const std::lock_guard lock(server_.mutex);
    server_.values.erase(name);
    server_.log.push_back("drop " + name.hex());
    return {};
  }

  Result<std::optional<uint64_t>> count(Patience& patience) override {
    KVS_TRY(suffer(patience));
    const std::lock_guard lock(server_.mutex);
    return std::optional<uint64_t>(server_.values.size());
  }

  std::string where() const override { return "fake://"; }

 private:
  static Error no_answer() { return {ErrorKind::io, "no answer"}; }
  Result<> suffer(Patience& patience) {
    Fault fault;
    {
      const std::lock_guard lock(server_.mutex);
      ++server_.calls;
      fault = server_.fault;
    }
    if (fault == Fault::dead) return no_answer();
    if (fault != Fault::slow) return {};
    while (!patience.has_ended()) std::this_thread::sleep_for(patience.left());
    return no_answer();
  }

  FakeServer& server_;
};

}  // namespace kvsplice::store
