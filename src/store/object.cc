#include "store/object.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/errors.h"
#include "core/limits.h"
#include "core/memory.h"
#include "store/chain.h"
#include "store/sealing.h"

namespace kvsplice::store {

namespace {

constexpr uint64_t kMagic = 0x6c6c65632d73766b;  // "kvs-cell"
constexpr uint16_t kVersion = 1;
constexpr uint8_t kAnswered = 1;                      // flag
constexpr uint64_t kMostCells = uint64_t{1} << 32;    // bytes
constexpr uint64_t kMostSeconds = uint64_t{1} << 40;  // since 1970

// What stands in front of the sealed parts, which are bound to all of it.
struct Front {
  ObjectHead head;
  uint64_t cells = 0;  // bytes before they are sealed
  Nonce token_nonce = {}, cell_nonce = {};

  uint64_t tokens_end() const { return bytes_to_tokens(head); }
  uint64_t end() const { return tokens_end() + cells + kTag; }
};

Result<> check_head(const ObjectHead& head) {
  if (head.kind != ObjectKind::block && head.kind != ObjectKind::tail) {
    return format_error(fmt::format("an object of kind {}; legal: 1, 2", int(head.kind)));
  }
  if (head.count == 0 || head.count > limits::kTokens ||
      head.first > limits::kTokens - head.count) {
    return format_error(fmt::format("an object of {} tokens behind {}; legal: 1 ... {} in all",
                                    head.count, head.first, limits::kTokens));
  }
  const bool begins = head.parent == head.root;
  if (begins != (head.first == 0) || head.own == head.parent || head.own == head.root) {
    return format_error(fmt::format("an object at token {} cannot have this parent", head.first));
  }
  if (head.made > kMostSeconds) {
    return format_error(
        fmt::format("an object made at second {}; legal: at most {}", head.made, kMostSeconds));
  }
  return {};
}

std::array<uint8_t, kHeadBytes> write_front(const Front& front) {
  std::array<uint8_t, kHeadBytes> bytes;
  uint8_t* at = bytes.data();
  const auto put = [&](const auto& value) {
    std::memcpy(at, &value, sizeof value);
    at += sizeof value;
  };
  const ObjectHead& head = front.head;
  put(kMagic);
  put(kVersion);
  put(static_cast<uint8_t>(head.kind));
  put(head.answered ? kAnswered : uint8_t{0});
  put(head.count);
  put(head.first);
  put(head.made);
  for (const Hash& hash : {head.root, head.parent, head.own, head.owner}) put(hash.bytes);
  put(front.cells);
  put(front.token_nonce);
  put(front.cell_nonce);
  assert(at == bytes.data() + bytes.size());
  return bytes;
}

template <size_t n>
Result<> get_bytes(ByteReader& in, std::array<uint8_t, n>& out) {
  KVS_ASSIGN(const ByteSpan bytes, in.take(n));
  std::copy(bytes.begin(), bytes.end(), out.begin());
  return {};
}

// Magic and version.
Result<> check_start(ByteReader& in) {
  KVS_ASSIGN(const uint64_t magic, in.get<uint64_t>());
  if (magic != kMagic) return format_error("no object of a store");
  KVS_ASSIGN(const uint16_t version, in.get<uint16_t>());
  if (version == kVersion) return {};
  return format_error(
      fmt::format("an object of version {}; this program reads {}", version, kVersion));
}

Result<Front> parse_front(ByteSpan bytes) {
  ByteReader in(bytes);
  KVS_TRY(check_start(in));
  Front front;
  ObjectHead& head = front.head;
  KVS_ASSIGN(const uint8_t kind, in.get<uint8_t>());
  head.kind = static_cast<ObjectKind>(kind);
  KVS_ASSIGN(const uint8_t flags, in.get<uint8_t>());
  head.answered = flags == kAnswered;
  KVS_ASSIGN(head.count, in.get<uint32_t>());
  KVS_ASSIGN(head.first, in.get<uint64_t>());
  KVS_ASSIGN(head.made, in.get<uint64_t>());
  for (Hash* hash : {&head.root, &head.parent, &head.own, &head.owner}) {
    KVS_TRY(get_bytes(in, hash->bytes));
  }
  KVS_ASSIGN(front.cells, in.get<uint64_t>());
  KVS_TRY(get_bytes(in, front.token_nonce));
  KVS_TRY(get_bytes(in, front.cell_nonce));
  if (flags > kAnswered) return format_error(fmt::format("an object of flags {}", int(flags)));
  if (front.cells > kMostCells) {
    return format_error(
        fmt::format("an object of {} bytes of cells; legal: at most {}", front.cells, kMostCells));
  }
  KVS_TRY(check_head(head));
  return front;
}

ByteSpan bytes_of(const std::vector<int32_t>& tokens) {
  return {reinterpret_cast<const uint8_t*>(tokens.data()), tokens.size() * sizeof tokens[0]};
}

Result<> check_name(const ObjectHead& head, std::span<const int32_t> tokens) {
  if (child_of(head.parent, tokens, head.kind == ObjectKind::tail) == head.own) return {};
  return Error{ErrorKind::mismatch, "an object's name is not that of its tokens"};
}

Error cut_short(uint64_t wanted, uint64_t there) {
  return format_error(fmt::format("an object of {} bytes, of which {} are there", wanted, there));
}

Result<std::vector<int32_t>> open_tokens(const Front& front, ByteSpan bytes, const Key& key) {
  if (bytes.size() < front.tokens_end()) return cut_short(front.end(), bytes.size());
  const ByteSpan sealed = bytes.subspan(kHeadBytes, front.tokens_end() - kHeadBytes);
  std::vector<int32_t> tokens(front.head.count);
  KVS_TRY(decrypt(sealed, bytes.first(kHeadBytes), front.token_nonce, key,
                  reinterpret_cast<uint8_t*>(tokens.data())));
  KVS_TRY(check_name(front.head, tokens));
  return tokens;
}

// What could not be opened again is not sealed.
Result<> check_object(const Object& object) {
  const auto legal = check_head(object.head);
  if (!legal.ok()) return usage_error(legal.error().message);
  if (object.tokens.size() != object.head.count) {
    return usage_error(fmt::format("an object of {} tokens, whose head says {}",
                                   object.tokens.size(), object.head.count));
  }
  if (object.cells.size() > kMostCells) {
    return usage_error(fmt::format("an object of {} bytes of cells; legal: at most {}",
                                   object.cells.size(), kMostCells));
  }
  return check_name(object.head, object.tokens);
}

Bytes seal_checked(const Object& object, const Key& key) {
  Front front;
  front.head = object.head;
  front.cells = object.cells.size();
  front.token_nonce = new_nonce();
  front.cell_nonce = new_nonce();
  const auto head = write_front(front);
  Bytes sealed(front.end());
  std::copy(head.begin(), head.end(), sealed.begin());
  encrypt(bytes_of(object.tokens), head, front.token_nonce, key, sealed.data() + kHeadBytes);
  encrypt(object.cells, head, front.cell_nonce, key, sealed.data() + front.tokens_end());
  return sealed;
}

Result<Object> open_whole(ByteSpan bytes, const Key& key) {
  KVS_ASSIGN(const Front front, parse_front(bytes));
  if (bytes.size() != front.end()) return cut_short(front.end(), bytes.size());
  Object object;
  object.head = front.head;
  KVS_ASSIGN(object.tokens, open_tokens(front, bytes, key));
  object.cells.resize(front.cells);
  KVS_TRY(decrypt(bytes.subspan(front.tokens_end()), bytes.first(kHeadBytes), front.cell_nonce, key,
                  object.cells.data()));
  return object;
}

}  // namespace

const char* name(ObjectKind kind) { return kind == ObjectKind::block ? "block" : "tail"; }

uint64_t bytes_to_tokens(const ObjectHead& head) {
  return kHeadBytes + uint64_t{head.count} * sizeof(int32_t) + kTag;
}

Result<Bytes> seal(const Object& object, const Key& key) {
  return within_memory([&]() -> Result<Bytes> {
    KVS_TRY(check_object(object));
    return seal_checked(object, key);
  });
}

Result<ObjectHead> read_head(ByteSpan bytes) {
  KVS_ASSIGN(const Front front, parse_front(bytes));
  return front.head;
}

Result<uint64_t> object_bytes(ByteSpan bytes) {
  KVS_ASSIGN(const Front front, parse_front(bytes));
  return front.end();
}

Result<std::vector<int32_t>> open_tokens(ByteSpan bytes, const Key& key) {
  return within_memory([&]() -> Result<std::vector<int32_t>> {
    KVS_ASSIGN(const Front front, parse_front(bytes));
    return open_tokens(front, bytes, key);
  });
}

Result<Object> open(ByteSpan bytes, const Key& key) {
  return within_memory([&] { return open_whole(bytes, key); });
}

}  // namespace kvsplice::store
