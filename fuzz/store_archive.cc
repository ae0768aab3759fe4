// A file that claims to hold objects of a store, one after the other.
#include "store/archive.h"
#include "support/driver.h"
#include "support/memory_file.h"
#include "support/store_key.h"

using namespace kvsplice;
using namespace kvsplice::store;

const double fuzz::least_accepted = 0.2;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::MemoryFile file;
  static const Key key = fuzz::store_key();
  if (!file.fill({data, size})) return 0;
  const auto archive = ArchiveReader::open(file.path());
  if (!archive.ok()) return 0;
  fuzz::accept();
  for (size_t i = 0; i < archive->size(); ++i) {
    const auto sealed = archive->read(i);
    fuzz::demand(sealed.ok() && sealed->size() >= kHeadBytes && sealed->size() < size);
    (void)open(*sealed, key).ok();
  }
  return 0;
}
