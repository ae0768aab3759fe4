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
  // A caller's model bounds what is allocated; here the file is the model.
  size_t values = 0;
  for (const LayerShape& l : lossless.shape.layers) {
    values += static_cast<size_t>(l.width(Kind::key) + l.width(Kind::value));
  }
  const auto session = Session::open(file.path(), lossless);
  constexpr size_t kMostValues = 1 << 20;
  if (session.ok() && session->size() * values <= kMostValues) {
    (void)session->read(0, session->size(), {}).ok();
  }
  return 0;
}
