#include "core/file_hash.h"

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <memory>

#include "core/descriptor.h"

namespace kvsplice {

Result<FileHash> hash_file(const std::filesystem::path& path) {
  const Descriptor file(os::open_file(path, os::Access::read));
  if (!file) return system_error("read", path.string());
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(),
                                                                              XXH3_freeState);
  XXH3_128bits_reset(state.get());
  Bytes piece(1 << 20);
  uint64_t size = 0;
  for (size_t n = 1; n > 0; size += n) {
    KVS_ASSIGN(n, read_up_to(file.get(), piece.data(), piece.size(), path.string()));
    XXH3_128bits_update(state.get(), piece.data(), n);
  }
  const XXH128_hash_t h = XXH3_128bits_digest(state.get());
  return FileHash{size, fmt::format("{:016x}{:016x}", h.high64, h.low64)};
}

}  // namespace kvsplice
