// What a remote tells of an object's children: an entry beside it, sealed like objects, with the
// tokens of the newest. Whoever looks for the longest shared run reads this one value.
#pragma once

#include <span>
#include <vector>

#include "store/object.h"

namespace kvsplice::store {

struct Child {
  ObjectKind kind = ObjectKind::block;
  std::vector<int32_t> tokens;

  Hash name(const Hash& parent) const;
  bool operator==(const Child&) const = default;
};

// The name the entry of a parent has.
Hash entry_name(const Hash& parent);
constexpr uint64_t kMostEntryBytes = uint64_t{1} << 20;

// What is sealed of an entry, newest first, and the reverse. Hostile: error format.
Bytes write_children(std::span<const Child> children);
Result<std::vector<Child>> read_children(ByteSpan text);

Bytes seal_children(std::span<const Child> children, const Hash& parent, const Key& key);
// Hostile. Errors: format; mismatch if it was altered, or is of another parent or key.
Result<std::vector<Child>> open_children(ByteSpan bytes, const Hash& parent, const Key& key);

// With a child in front, and at most so many behind it as an entry may hold. Tails that it begins
// with are taken out; their names are returned.
std::vector<Hash> add_child(std::vector<Child>& children, Child child, const Hash& parent);

}  // namespace kvsplice::store
