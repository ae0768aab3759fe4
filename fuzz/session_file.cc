// A file that claims to be a session: its records and the cells in them.
#include "core/threads.h"
#include "session/session.h"
#include "support/driver.h"
#include "support/session_mutator.h"
#include "support/small_codecs.h"

using namespace kvsplice;
using namespace kvsplice::session;

const double fuzz::least_accepted = 0.2;

namespace {

// Without a codec the file is the model.
Coder coder_for(const SessionInfo& info) {
  Coder coder;
  if (info.lossless()) {
    coder.shape.fingerprint = info.model;
    coder.shape.layers = info.layers;
    return coder;
  }
  coder.shape = fuzz::small_shape();
  coder.codec = fuzz::small_codec(fuzz::kDefaultPipeline);
  coder.embeddings = &fuzz::small_embeddings();
  return coder;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool alone = (set_thread_count(1), true);
  if (!alone) return 0;
  auto reader = SessionReader::open(view_source({data, size}), "the input");
  if (!reader.ok()) return 0;
  (void)read_tokens(*reader).ok();
  for (const size_t position : reader->state_positions()) (void)reader->read_state(position).ok();
  const Coder coder = coder_for(reader->info());
  const auto session = Session::open(std::move(*reader), coder);
  if (!session.ok()) return 0;
  fuzz::accept();
  const auto cells = session->read(0, session->size(), {});
  fuzz::demand(!cells.ok() || cells->count() == session->size());
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  Random random(seed);
  return fuzz::hand_over(fuzz::mutate_session({data, size}, random), data, most);
}
