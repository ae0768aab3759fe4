#include "sweep/claim.h"

#include <fmt/format.h>

#include <cerrno>
#include <utility>

#include "core/bytes.h"

namespace kvsplice::sweep {

namespace {

std::string file_of(const std::string& name) {
  const ByteSpan bytes(reinterpret_cast<const uint8_t*>(name.data()), name.size());
  return fmt::format(".kvs-claim-{}", hash128_hex(bytes).substr(0, 16));
}

Error no_locks(const std::filesystem::path& folder) {
  return {ErrorKind::io, fmt::format("{}: its file system has no locks, which processes that share "
                                     "work need",
                                     folder.string())};
}

}  // namespace

Result<std::optional<Claim>> Claim::take(const std::filesystem::path& folder,
                                         const std::string& name) {
  constexpr int kMostTries = 100;
  os::Folder in;
  if (!in.open(folder.string())) return system_error("open", folder.string());
  const std::string file = file_of(name);
  for (int i = 0; i < kMostTries; ++i) {
    Descriptor found(in.open_file(file));
    if (!found && errno == ENOENT) found = Descriptor(in.create_file(file, 0666));
    if (!found && errno == EEXIST) continue;  // another was first
    if (!found) return system_error("claim a file in", folder.string());
    const Lock lock = os::try_lock(found.get());
    if (lock == Lock::busy) break;
    if (lock == Lock::unsupported) return no_locks(folder);
    // Who had it may have removed it before it was locked here.
    const auto state = os::state_of(found.get());
    if (state && state->names > 0) {
      return std::optional(Claim(std::move(in), file, std::move(found)));
    }
  }
  return std::optional<Claim>();
}

Claim& Claim::operator=(Claim&& other) noexcept {
  std::swap(folder_, other.folder_);
  std::swap(file_, other.file_);
  std::swap(lock_, other.lock_);
  return *this;
}

Claim::~Claim() {
  if (lock_) folder_.remove(file_);
}

}  // namespace kvsplice::sweep
