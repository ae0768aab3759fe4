#include "store/sealing.h"

#include <sodium.h>

namespace kvsplice::store {

static_assert(kTag == crypto_aead_xchacha20poly1305_ietf_ABYTES);
static_assert(sizeof(Nonce) == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES);

Nonce new_nonce() {
  Nonce nonce;
  randombytes_buf(nonce.data(), nonce.size());
  return nonce;
}

void encrypt(ByteSpan text, ByteSpan front, const Nonce& nonce, const Key& key, uint8_t* out) {
  crypto_aead_xchacha20poly1305_ietf_encrypt(out, nullptr, text.data(), text.size(), front.data(),
                                             front.size(), nullptr, nonce.data(),
                                             key.sealing().data());
}

Result<> decrypt(ByteSpan sealed, ByteSpan front, const Nonce& nonce, const Key& key,
                 uint8_t* out) {
  const int failed = crypto_aead_xchacha20poly1305_ietf_decrypt(
      out, nullptr, nullptr, sealed.data(), sealed.size(), front.data(), front.size(), nonce.data(),
      key.sealing().data());
  if (failed == 0) return {};
  return Error{ErrorKind::mismatch, "an object was altered, or sealed by another key"};
}

}  // namespace kvsplice::store
