// A file that claims to be a session: its records and the cells in them.
#include "memory_file.h"
#include "session/session.h"

using namespace kvsplice;
using namespace kvsplice::session;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const MemoryFile file(data, size);
  if (!file.whole()) return 0;
  const auto reader = SessionReader::open(file.path());
  if (!reader.ok()) return 0;
  (void)read_tokens(*reader).ok();
  Coder lossless;
  lossless.shape.fingerprint = reader->info().model;
  lossless.shape.layers = reader->info().layers;
  const auto session = Session::open(file.path(), lossless);
  constexpr size_t kMostTokens = 64;  // what a damaged file claims to hold may be large
  if (session.ok() && session->size() <= kMostTokens) {
    (void)session->read(0, session->size(), {}).ok();
  }
  return 0;
}
