#include "core/file_hash.h"

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

namespace kvsplice {

Result<FileHash> hash_file(const std::filesystem::path& path) {
  const auto failed = [&] {
    return Error{ErrorKind::io,
                 fmt::format("cannot read {}: {}", path.string(), std::strerror(errno))};
  };
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "rbe"), std::fclose);
  if (!file) return failed();
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(),
                                                                              XXH3_freeState);
  XXH3_128bits_reset(state.get());
  std::vector<char> piece(1 << 20);
  uint64_t size = 0;
  for (size_t n; (n = std::fread(piece.data(), 1, piece.size(), file.get())) > 0; size += n) {
    XXH3_128bits_update(state.get(), piece.data(), n);
  }
  if (std::ferror(file.get())) return failed();
  const XXH128_hash_t h = XXH3_128bits_digest(state.get());
  return FileHash{size, fmt::format("{:016x}{:016x}", h.high64, h.low64)};
}

}  // namespace kvsplice
