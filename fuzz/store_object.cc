// Bytes that claim to be an object of a store, and what its head says, sealed anew.
#include "support/driver.h"
#include "support/store_key.h"

using namespace kvsplice;
using namespace kvsplice::store;

const double fuzz::least_accepted = 0.2;

namespace {

// Whatever opens is what was sealed.
void reseal(const ObjectHead& head, ByteSpan cells, const Key& key) {
  Object object = fuzz::store_object(head.root, head.parent, head.first,
                                     std::min<uint32_t>(head.count, 50), head.kind);
  object.head.owner = head.owner;
  object.head.answered = head.answered;
  object.head.made = head.made;
  object.cells.assign(cells.begin(), cells.end());
  const auto sealed = seal(object, key);
  // A mutated root may be the name that its own descendant gets.
  const bool own_root = object.head.own == head.root;
  fuzz::demand(sealed.ok() != own_root);
  if (own_root) return;
  const auto opened = open(*sealed, key);
  fuzz::demand(opened.ok() && opened->head == object.head && opened->tokens == object.tokens &&
               opened->cells == object.cells);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Key key = fuzz::store_key();
  const ByteSpan bytes(data, size);
  const auto head = read_head(bytes);
  const auto tokens = open_tokens(bytes, key);
  const auto object = open(bytes, key);
  fuzz::demand(head.ok() || (!tokens.ok() && !object.ok()));
  fuzz::demand(!object.ok() || (object_bytes(bytes).value() == size && tokens.ok() &&
                                object->tokens == *tokens && object->head == *head));
  if (!head.ok()) return 0;
  fuzz::accept();
  reseal(*head, bytes.subspan(kHeadBytes), key);
  return 0;
}
