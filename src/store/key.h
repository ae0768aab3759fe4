// The secret of a store. What it holds is a transcript of conversations: objects are sealed by a
// key of it, and tenants' names enter the names of objects by another, so that nobody without it
// can read, plant or guess them.
#pragma once

#include <array>
#include <string>

#include "store/hash.h"

namespace kvsplice::store {

class Key {
 public:
  // Of the file `key` in a folder, which is made (mode 0600, random) if it is not there. Two that
  // make it at once get the same. Error format if it is no key; error io names what cannot be read.
  static Result<Key> open(const std::string& folder);
  static Result<Key> of_bytes(ByteSpan secret);  // 32 of them

  // HMAC of a text that names whom objects belong to; the empty text is a tenant like others.
  Hash salt_of(std::string_view tenant) const;
  // What objects say of their tenant; tells nothing of the salt.
  Hash owner_of(std::string_view tenant) const;
  ByteSpan sealing() const { return sealing_; }
  // Tells keys apart without telling the key: 16 hex digits.
  std::string fingerprint() const;

 private:
  Key() = default;
  std::array<uint8_t, 32> sealing_ = {}, salting_ = {};  // derived from the secret
};

}  // namespace kvsplice::store
