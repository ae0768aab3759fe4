// What is sealed of an entry of a remote that names an object's children.
#include "store/remote/children.h"
#include "support/driver.h"
#include "support/store_key.h"

using namespace kvsplice;
using namespace kvsplice::store;

const double fuzz::least_accepted = 0.05;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Key key = fuzz::store_key();
  const Hash parent = Hash::of({});
  const ByteSpan bytes(data, size);
  (void)open_children(bytes, parent, key).ok();
  auto children = read_children(bytes);
  if (!children.ok()) return 0;
  fuzz::accept();
  fuzz::demand(read_children(write_children(*children)).value() == *children);
  const Child child = {ObjectKind::tail, {1, 2, 3}};
  (void)add_child(*children, child, parent);
  fuzz::demand(!children->empty() && children->front() == child);
  const Bytes sealed = seal_children(*children, parent, key);
  fuzz::demand(open_children(sealed, parent, key).value() == *children);
  return 0;
}
