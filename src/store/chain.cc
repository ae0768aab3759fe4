#include "store/chain.h"

#include <fmt/format.h>

#include <algorithm>

#include "store/object.h"

namespace kvsplice::store {

std::string settings_of(std::string_view key_type, std::string_view value_type) {
  return fmt::format("keys {}, values {}", key_type, value_type);
}

Hash root_of(const CellsOf& cells, const Key& key, std::string_view tenant) {
  ByteWriter bytes;
  bytes.put_string("kvsplice store root 1");
  bytes.put_string(cells.model);
  bytes.put_string(cells.codec);
  bytes.put_varint(cells.block_tokens);
  bytes.put_string(cells.settings);
  bytes.put_bytes(key.salt_of(tenant).bytes);
  return Hash::of(bytes.bytes());
}

Hash child_of(const Hash& parent, std::span<const int32_t> tokens, bool tail) {
  ByteWriter bytes;
  bytes.reserve(parent.bytes.size() + 1 + tokens.size_bytes());
  bytes.put_bytes(parent.bytes);
  bytes.put(static_cast<uint8_t>(tail ? ObjectKind::tail : ObjectKind::block));
  bytes.put_array(tokens);
  return Hash::of(bytes.bytes());
}

std::vector<Hash> chain_of(const Hash& root, std::span<const int32_t> tokens, size_t block_tokens) {
  std::vector<Hash> chain;
  if (block_tokens == 0) return chain;
  for (Hash last = root; tokens.size() >= block_tokens; tokens = tokens.subspan(block_tokens)) {
    last = child_of(last, tokens.first(block_tokens), false);
    chain.push_back(last);
  }
  return chain;
}

size_t shared_length(std::span<const int32_t> a, std::span<const int32_t> b) {
  const size_t n = std::min(a.size(), b.size());
  return static_cast<size_t>(std::mismatch(a.begin(), a.begin() + ptrdiff_t(n), b.begin()).first -
                             a.begin());
}

}  // namespace kvsplice::store
