#include "support/block_mutator.h"

#include <vector>

#include "support/driver.h"

namespace kvsplice::fuzz {

namespace {

Result<std::vector<ByteSpan>> split_units(ByteSpan block, size_t units) {
  ByteReader in(block);
  std::vector<uint64_t> sizes(units);
  for (uint64_t& size : sizes) {
    KVS_ASSIGN(size, in.get_varint());
  }
  std::vector<ByteSpan> payloads(units);
  for (size_t i = 0; i < units; ++i) {
    KVS_ASSIGN(payloads[i], in.take(sizes[i]));
  }
  return payloads;
}

Bytes join_units(const std::vector<ByteSpan>& payloads) {
  ByteWriter out;
  for (ByteSpan p : payloads) out.put_varint(p.size());
  for (ByteSpan p : payloads) out.put_bytes(p);
  return out.take();
}

// One stage's side data, or what stands behind all of them.
Result<Bytes> mutate_side(ByteSpan payload, size_t stages, Random& random) {
  ByteReader in(payload);
  ByteWriter out;
  const size_t changed = random.below(stages + 1);
  for (size_t s = 0; s < stages; ++s) {
    KVS_ASSIGN(const uint64_t size, in.get_varint());
    KVS_ASSIGN(const ByteSpan side, in.take(size));
    const Bytes now = s == changed ? mutate_bytes(side) : Bytes(side.begin(), side.end());
    out.put_varint(now.size());
    out.put_bytes(now);
  }
  KVS_ASSIGN(const ByteSpan rest, in.take(in.left()));
  if (changed == stages && !rest.empty()) {
    out.put_bytes(mutate_bytes(rest));
  } else {
    out.put_bytes(rest);
  }
  return out.take();
}

}  // namespace

Bytes mutate_block(ByteSpan block, size_t units, size_t stages, Random& random) {
  auto payloads = split_units(block, units);
  if (!payloads.ok() || units == 0 || random.below(8) == 0) return mutate_bytes(block);
  ByteSpan& payload = (*payloads)[random.below(units)];
  auto changed = mutate_side(payload, stages, random);
  if (!changed.ok() || random.below(4) == 0) changed = mutate_bytes(payload);
  payload = *changed;
  return join_units(*payloads);
}

}  // namespace kvsplice::fuzz
