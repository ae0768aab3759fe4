#include "codec/block_format.h"

#include <fmt/format.h>

namespace kvsplice::codec {

Bytes join_payloads(const std::vector<Bytes>& payloads) {
  ByteWriter out;
  for (const Bytes& p : payloads) out.put_varint(p.size());
  for (const Bytes& p : payloads) out.put_bytes(p);
  return out.take();
}

Result<std::vector<ByteSpan>> split_payloads(ByteSpan block, size_t units) {
  ByteReader in(block);
  std::vector<size_t> sizes(units);
  for (size_t& size : sizes) {
    KVS_ASSIGN(size, in.get_varint());
  }
  std::vector<ByteSpan> parts(units);
  for (size_t i = 0; i < units; ++i) {
    KVS_ASSIGN(parts[i], in.take(sizes[i]));
  }
  if (in.left() > 0) {
    return Error{ErrorKind::format, fmt::format("{} bytes behind the last unit", in.left())};
  }
  return parts;
}

}  // namespace kvsplice::codec
