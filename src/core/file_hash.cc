#include "core/file_hash.h"

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/descriptor.h"

namespace kvsplice {

struct PiecewiseHash::State {
  XXH3_state_t xxh{};
};

PiecewiseHash::PiecewiseHash() : state_(std::make_unique<State>()) {
  XXH3_128bits_reset(&state_->xxh);
}

PiecewiseHash::~PiecewiseHash() = default;

void PiecewiseHash::add(ByteSpan piece) {
  XXH3_128bits_update(&state_->xxh, piece.data(), piece.size());
}

std::string PiecewiseHash::hex() const {
  const XXH128_hash_t h = XXH3_128bits_digest(&state_->xxh);
  return fmt::format("{:016x}{:016x}", h.high64, h.low64);
}

Result<FileHash> hash_file(const std::filesystem::path& path) {
  const Descriptor file(os::open_file(path, os::Access::read));
  if (!file) return system_error("read", path.string());
  PiecewiseHash hash;
  Bytes piece(1 << 20);
  uint64_t size = 0;
  for (size_t n = 1; n > 0; size += n) {
    KVS_ASSIGN(n, read_up_to(file.get(), piece.data(), piece.size(), path.string()));
    hash.add({piece.data(), n});
  }
  return FileHash{size, hash.hex()};
}

}  // namespace kvsplice
