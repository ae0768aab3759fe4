// An object of a store: the cells of some consecutive tokens, sealed. Its head can be read without
// the key; tokens and cells cannot. Input is hostile.
#pragma once

#include <vector>

#include "store/key.h"

namespace kvsplice::store {

enum class ObjectKind : uint8_t { block = 1, tail = 2 };
const char* name(ObjectKind kind);

// What is known of an object without the key.
struct ObjectHead {
  ObjectKind kind = ObjectKind::block;
  Hash root, parent, own;
  Hash owner;             // of the tenant, see Key::owner_of
  uint64_t first = 0;     // position of the first token
  uint32_t count = 0;     // tokens
  bool answered = false;  // the model wrote most of the tokens
  uint64_t made = 0;      // seconds since 1970

  bool operator==(const ObjectHead&) const = default;
};

struct Object {
  ObjectHead head;
  std::vector<int32_t> tokens;
  Bytes cells;  // what store/cells.h makes of rows
};

// Authenticated encryption (XChaCha20-Poly1305) of tokens and of cells, each bound to the head.
// Error usage or mismatch: an object that could not be opened again.
Result<Bytes> seal(const Object& object, const Key& key);

// The first bytes of an object: its head, and how the rest is sealed.
constexpr size_t kHeadBytes = 216;
// How many first bytes hold the tokens, too.
uint64_t bytes_to_tokens(const ObjectHead& head);

// Of the first kHeadBytes or more. Error format: no object, of another version, cut short, a head
// that cannot be.
Result<ObjectHead> read_head(ByteSpan bytes);
// How many bytes the whole object has, by what its head says.
Result<uint64_t> object_bytes(ByteSpan bytes);
// Of the first bytes_to_tokens() or more. Errors: as read_head; mismatch if it was sealed by
// another key or altered, or if its own name is not the one its parent and tokens have.
Result<std::vector<int32_t>> open_tokens(ByteSpan bytes, const Key& key);
// Of exactly its bytes. Errors: the same.
Result<Object> open(ByteSpan bytes, const Key& key);

}  // namespace kvsplice::store
