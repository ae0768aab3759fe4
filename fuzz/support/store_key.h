// The key of the objects that the drivers `store_object` and `store_archive` begin with.
#pragma once

#include "store/chain.h"
#include "store/object.h"

namespace kvsplice::fuzz {

inline store::Key store_key() { return store::Key::of_bytes(Bytes(32, 7)).value(); }

// Of tokens first, first + 1, ... behind a parent, or behind the root.
inline store::Object store_object(const store::Hash& root, const store::Hash& parent,
                                  uint64_t first, uint32_t count, store::ObjectKind kind) {
  store::Object object;
  for (uint32_t i = 0; i < count; ++i) object.tokens.push_back(static_cast<int32_t>(first + i));
  object.cells.assign(3 * count, 5);
  object.head.kind = kind;
  object.head.root = root;
  object.head.parent = parent;
  object.head.own = store::child_of(parent, object.tokens, kind == store::ObjectKind::tail);
  object.head.first = first;
  object.head.count = count;
  return object;
}

// A block and a tail behind it.
inline std::vector<store::Object> store_objects() {
  const store::Hash root = store::root_of({"model", "", 8, ""}, store_key(), "");
  std::vector<store::Object> objects = {store_object(root, root, 0, 8, store::ObjectKind::block)};
  const store::Hash parent = objects[0].head.own;
  objects.push_back(store_object(root, parent, 8, 3, store::ObjectKind::tail));
  return objects;
}

}  // namespace kvsplice::fuzz
