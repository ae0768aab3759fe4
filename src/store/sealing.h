// Authenticated encryption of what a store keeps: XChaCha20-Poly1305 with the store's sealing key.
#pragma once

#include <array>

#include "store/key.h"

namespace kvsplice::store {

constexpr size_t kTag = 16;  // bytes that sealing adds
using Nonce = std::array<uint8_t, 24>;

Nonce new_nonce();
// `front` is bound to it. `out` has room for the text and the tag.
void encrypt(ByteSpan text, ByteSpan front, const Nonce& nonce, const Key& key, uint8_t* out);
// `out` has room for what was sealed less the tag, which must be there. Error mismatch.
Result<> decrypt(ByteSpan sealed, ByteSpan front, const Nonce& nonce, const Key& key, uint8_t* out);

}  // namespace kvsplice::store
