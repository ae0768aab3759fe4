#include "store/key.h"

#include <fmt/format.h>
#include <sodium.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "core/file.h"

namespace kvsplice::store {

namespace {

namespace fs = std::filesystem;

constexpr size_t kSecret = crypto_kdf_KEYBYTES;
constexpr char kContext[] = "kvstore1";  // of the derivation; docs/store.md
constexpr uint64_t kSealing = 1, kSalting = 2;
static_assert(sizeof kContext == crypto_kdf_CONTEXTBYTES + 1 && kSecret == sizeof Hash::bytes);

// Chooses the implementations of this processor; may be called again, and by several threads.
Result<> begin_sodium() {
  if (sodium_init() >= 0) return {};
  return Error{ErrorKind::io, "libsodium cannot begin: the system has no random numbers"};
}

Hash authenticate(std::span<const uint8_t, 32> key, std::string_view purpose,
                  std::string_view text) {
  const std::string message = fmt::format("{}:{}", purpose, text);
  Hash hash;
  crypto_auth_hmacsha256(hash.bytes.data(), reinterpret_cast<const uint8_t*>(message.data()),
                         message.size(), key.data());
  return hash;
}

// Nothing if another program has made it meanwhile.
Result<> make_key(const std::string& path) {
  KVS_ASSIGN(OutputFile out, OutputFile::reserve(path, Readers::owner));
  if (os::state_at(path)) return {};
  Hash secret;
  randombytes_buf(secret.bytes.data(), secret.bytes.size());
  return write_text(std::move(out), secret.hex() + "\n");
}

Result<Key> read_key(const std::string& path) {
  KVS_ASSIGN(std::string text, read_text(path, 1 << 10));
  if (text.ends_with('\n')) text.pop_back();
  const auto secret = Hash::of_hex(text);
  if (secret.ok()) return Key::of_bytes(secret->bytes);
  return Error{ErrorKind::format, path + " is no key: 64 hexadecimal digits are expected"};
}

}  // namespace

Result<Key> Key::open(const std::string& folder) {
  KVS_TRY(begin_sodium());
  const std::string path = (fs::path(folder) / "key").string();
  constexpr int kMostTries = 200;
  for (int i = 0;; ++i) {
    if (os::state_at(path)) return read_key(path);
    if (errno != ENOENT) return system_error("read", path);
    if (!os::may_write(folder)) return system_error("create", path);
    const auto made = make_key(path);
    if (made.ok()) continue;
    if (i == kMostTries) return made.error();
    // Most likely another program is making it.
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

Result<Key> Key::of_bytes(ByteSpan secret) {
  KVS_TRY(begin_sodium());
  if (secret.size() != kSecret) {
    return Error{ErrorKind::usage,
                 fmt::format("a secret of {} bytes; legal: {}", secret.size(), kSecret)};
  }
  Key key;
  const auto derive = [&](std::array<uint8_t, 32>& out, uint64_t number) {
    crypto_kdf_derive_from_key(out.data(), out.size(), number, kContext, secret.data());
  };
  derive(key.sealing_, kSealing);
  derive(key.salting_, kSalting);
  return key;
}

Hash Key::salt_of(std::string_view tenant) const { return authenticate(salting_, "salt", tenant); }

Hash Key::owner_of(std::string_view tenant) const {
  return authenticate(salting_, "owner", tenant);
}

std::string Key::fingerprint() const {
  return authenticate(salting_, "fingerprint", "").hex().substr(0, 16);
}

}  // namespace kvsplice::store
