// Objects for tests: chains of blocks and tails whose cells follow from their tokens.
#pragma once

#include <gtest/gtest.h>

#include <numeric>

#include "store/chain.h"
#include "store/object.h"

namespace kvsplice::store {

constexpr size_t kBlock = 4;  // tokens

inline Key key_of(uint8_t first = 0) {
  Bytes secret(32);
  std::iota(secret.begin(), secret.end(), first);
  return Key::of_bytes(secret).value();
}

inline Hash root_named(const Key& key, const std::string& tenant = "") {
  return root_of({std::string(32, 'm'), "c0dec", kBlock, "f16"}, key, tenant);
}

inline Bytes cells_of(std::span<const int32_t> tokens, size_t bytes) {
  Bytes cells(bytes);
  for (size_t i = 0; i < bytes; ++i) {
    cells[i] = static_cast<uint8_t>(31 * i + size_t(tokens[i % tokens.size()]));
  }
  return cells;
}

inline Object object_of(const Hash& root, const Hash& parent, uint64_t first,
                        std::vector<int32_t> tokens, ObjectKind kind = ObjectKind::block,
                        size_t bytes = 100) {
  Object object;
  ObjectHead& head = object.head;
  head.kind = kind;
  head.root = root;
  head.parent = parent;
  head.own = child_of(parent, tokens, kind == ObjectKind::tail);
  head.first = first;
  head.count = static_cast<uint32_t>(tokens.size());
  head.made = 1000;
  object.cells = cells_of(tokens, bytes);
  object.tokens = std::move(tokens);
  return object;
}

// The blocks of a text, and a tail of what is left.
inline std::vector<Object> objects_of(const Hash& root, std::span<const int32_t> tokens,
                                      size_t bytes = 100) {
  std::vector<Object> objects;
  Hash last = root;
  for (size_t at = 0; at < tokens.size();) {
    const size_t n = std::min(kBlock, tokens.size() - at);
    const auto part = tokens.subspan(at, n);
    objects.push_back(object_of(root, last, at, {part.begin(), part.end()},
                                n == kBlock ? ObjectKind::block : ObjectKind::tail, bytes));
    last = objects.back().head.own;
    at += n;
  }
  return objects;
}

// first, first + 1, ...
inline std::vector<int32_t> text(int32_t first, size_t n) {
  std::vector<int32_t> tokens(n);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

}  // namespace kvsplice::store
