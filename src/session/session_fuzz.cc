// Bytes of a session, part by part: header, index, trailer, exact cells.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "session/exact.h"
#include "session/format.h"

using namespace kvsplice;
using namespace kvsplice::session;

namespace {

// With a checksum that is right, so that the fields before it are looked at.
void parse_any_header(ByteSpan bytes) {
  const auto length = header_length(bytes);
  if (!length.ok() || *length > bytes.size()) return;
  Bytes header(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(*length));
  const uint64_t sum = XXH64(header.data(), header.size() - sizeof sum, 0);
  std::memcpy(&header[header.size() - sizeof sum], &sum, sizeof sum);
  (void)parse_header(header).ok();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const ByteSpan bytes(data + 1, size - 1);
  SessionInfo info;
  info.layers.resize(1);
  info.layers[0].kv_heads = 1;
  info.layers[0].key_dim = info.layers[0].value_dim = 3;
  info.layers[0].window = data[0] % 8 < 4 ? 0 : 2;
  switch (data[0] % 4) {
    case 0:
      parse_any_header(bytes);
      return 0;
    case 1:
      (void)parse_index(bytes, info, 16, 1 << 20).ok();
      return 0;
    case 2:
      (void)parse_trailer(bytes, 1000).ok();
      return 0;
    default: {
      ByteReader in(bytes);
      auto tokens = get_tokens(in, 5);
      if (tokens.ok()) (void)get_exact(in, 0, std::move(*tokens), info.layers).ok();
      return 0;
    }
  }
}
