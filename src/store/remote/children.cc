#include "store/remote/children.h"

#include <algorithm>

#include "core/errors.h"
#include "store/chain.h"
#include "store/sealing.h"

namespace kvsplice::store {

namespace {

constexpr uint64_t kMagic = 0x7478656e2d73766b;  // "kvs-next"
constexpr uint16_t kVersion = 1;
constexpr uint8_t kEntry = 3;  // where names of objects have their kind
constexpr size_t kMostChildren = 16;
constexpr size_t kMostTokens = 1 << 16;  // of all of them

// What is in front of the sealed part, and bound to it; the nonce follows.
Bytes front_of(const Hash& parent) {
  ByteWriter front;
  front.put(kMagic);
  front.put(kVersion);
  front.put_bytes(parent.bytes);
  return front.take();
}

// Whether `child` was the end of a prompt that has grown into `other`.
bool has_grown_into(const Child& child, const Child& other) {
  return child.kind == ObjectKind::tail && child.tokens.size() <= other.tokens.size() &&
         std::equal(child.tokens.begin(), child.tokens.end(), other.tokens.begin());
}

}  // namespace

Hash Child::name(const Hash& parent) const {
  return child_of(parent, tokens, kind == ObjectKind::tail);
}

Hash entry_name(const Hash& parent) {
  ByteWriter bytes;
  bytes.put_bytes(parent.bytes);
  bytes.put(kEntry);
  return Hash::of(bytes.bytes());
}

Bytes write_children(std::span<const Child> children) {
  ByteWriter text;
  for (const Child& child : children) {
    text.put(static_cast<uint8_t>(child.kind));
    text.put_varint(child.tokens.size());
    text.put_array(std::span<const int32_t>(child.tokens));
  }
  return text.take();
}

Result<std::vector<Child>> read_children(ByteSpan text) {
  ByteReader in(text);
  std::vector<Child> children;
  while (in.left() > 0) {
    Child child;
    KVS_ASSIGN(const uint8_t kind, in.get<uint8_t>());
    if (kind != 1 && kind != 2) return format_error("an entry with a child of no kind");
    child.kind = static_cast<ObjectKind>(kind);
    KVS_ASSIGN(const uint64_t count, in.get_varint());
    KVS_ASSIGN(child.tokens, in.get_array<int32_t>(count));
    if (child.tokens.empty()) return format_error("an entry with a child of no tokens");
    children.push_back(std::move(child));
  }
  return children;
}

Bytes seal_children(std::span<const Child> children, const Hash& parent, const Key& key) {
  const Bytes text = write_children(children);
  const Bytes front = front_of(parent);
  const Nonce nonce = new_nonce();
  Bytes sealed = front;
  sealed.insert(sealed.end(), nonce.begin(), nonce.end());
  const size_t begin = sealed.size();
  sealed.resize(begin + text.size() + kTag);
  encrypt(text, front, nonce, key, sealed.data() + begin);
  return sealed;
}

Result<std::vector<Child>> open_children(ByteSpan bytes, const Hash& parent, const Key& key) {
  const Bytes front = front_of(parent);
  Nonce nonce;
  const size_t begin = front.size() + nonce.size();
  if (bytes.size() < begin + kTag || bytes.size() > kMostEntryBytes) {
    return format_error("an entry of no legal size");
  }
  if (!std::equal(front.begin(), front.end(), bytes.begin())) {
    return format_error("no entry of this parent");
  }
  std::copy_n(bytes.begin() + ptrdiff_t(front.size()), nonce.size(), nonce.begin());
  Bytes text(bytes.size() - begin - kTag);
  KVS_TRY(decrypt(bytes.subspan(begin), front, nonce, key, text.data()));
  return read_children(text);
}

std::vector<Hash> add_child(std::vector<Child>& children, Child child, const Hash& parent) {
  std::vector<Hash> gone;
  for (auto at = children.begin(); at != children.end();) {
    const bool same = *at == child;
    if (!same && !has_grown_into(*at, child)) {
      ++at;
      continue;
    }
    if (!same) gone.push_back(at->name(parent));
    at = children.erase(at);
  }
  children.insert(children.begin(), std::move(child));
  size_t tokens = 0, kept = 0;
  while (kept < std::min(children.size(), kMostChildren)) {
    tokens += children[kept].tokens.size();
    if (tokens > kMostTokens) break;
    ++kept;
  }
  children.resize(kept);
  return gone;
}

}  // namespace kvsplice::store
