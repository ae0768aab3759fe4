// Sessions taken apart, changed and put together again with places and checksums that are right, so
// that what lies behind the checksums is read.
#pragma once

#include <vector>

#include "core/random.h"
#include "session/format.h"

namespace kvsplice::fuzz {

struct SessionParts {
  Bytes header;  // sound or not, but for its length and its checksum
  std::vector<session::Record> records;
  std::vector<Bytes> payloads;  // of each record
  std::vector<int32_t> pending;
  std::vector<session::StoredState> states;
  std::vector<Bytes> state_payloads;
};

Result<SessionParts> parse_session(ByteSpan bytes);
Bytes write_session(SessionParts parts);

// The length and the checksum of a header that stands at the front made right, as far as it goes.
void repair_header(Bytes& bytes);

Bytes mutate_session(ByteSpan bytes, Random& random);

}  // namespace kvsplice::fuzz
