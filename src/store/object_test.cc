// What sealing promises, byte by byte.
#include "store/object.h"

#include <gmock/gmock.h>
#include <sodium.h>

#include "core/limits.h"
#include "store/store_objects_test.h"

namespace kvsplice::store {
namespace {

using testing::HasSubstr;

class SealedObject : public testing::Test {
 protected:
  template <class T>
  Bytes with(size_t at, T value) const {
    Bytes changed = sealed_;
    std::memcpy(changed.data() + at, &value, sizeof value);
    return changed;
  }

  const Key key_ = key_of();
  const Object object_ = object_of(root_named(key_), root_named(key_), 0, {5, -7, 151643});
  const Bytes sealed_ = seal(object_, key_).value();
};

TEST_F(SealedObject, ComesBack) {
  const Object back = open(sealed_, key_).value();
  EXPECT_EQ(back.head, object_.head);
  EXPECT_EQ(back.tokens, object_.tokens);
  EXPECT_EQ(back.cells, object_.cells);
  EXPECT_EQ(read_head(sealed_).value(), object_.head);
  EXPECT_EQ(object_bytes(sealed_).value(), sealed_.size());
  EXPECT_EQ(sealed_.size(), 216 + 3 * 4 + 16 + 100 + 16u);
  EXPECT_NE(seal(object_, key_).value(), sealed_) << "nonces are new every time";
}

TEST_F(SealedObject, OfAllFieldsComesBack) {
  Object tail = object_of(root_named(key_), object_.head.own, 3, {9}, ObjectKind::tail, 0);
  tail.head.answered = true;
  tail.head.owner = key_.owner_of("alice");
  tail.head.made = (uint64_t{1} << 40) - 1;
  const Bytes sealed = seal(tail, key_).value();
  EXPECT_EQ(read_head(sealed).value(), tail.head);
  EXPECT_TRUE(open(sealed, key_).value().cells.empty());
}

// By libsodium alone, at the places that docs/store.md names.
TEST_F(SealedObject, IsWhatItIsSpecifiedToBe) {
  std::array<uint8_t, 12> tokens;
  ASSERT_EQ(crypto_aead_xchacha20poly1305_ietf_decrypt(tokens.data(), nullptr, nullptr,
                                                       &sealed_[216], 28, sealed_.data(), 216,
                                                       &sealed_[168], key_.sealing().data()),
            0);
  const int32_t expected[3] = {5, -7, 151643};
  EXPECT_EQ(std::memcmp(tokens.data(), expected, 12), 0);
  Bytes cells(100);
  ASSERT_EQ(crypto_aead_xchacha20poly1305_ietf_decrypt(cells.data(), nullptr, nullptr,
                                                       &sealed_[244], 116, sealed_.data(), 216,
                                                       &sealed_[192], key_.sealing().data()),
            0);
  EXPECT_EQ(cells, object_.cells);
  EXPECT_EQ(std::string(sealed_.begin(), sealed_.begin() + 8), "kvs-cell");
  EXPECT_EQ(sealed_[8] + 256 * sealed_[9], 1);
  EXPECT_EQ(sealed_[12], 3);
  EXPECT_EQ(std::memcmp(&sealed_[96], object_.head.own.bytes.data(), 32), 0);
}

TEST_F(SealedObject, TokensOpenWithoutTheCells) {
  const size_t enough = bytes_to_tokens(object_.head);
  EXPECT_EQ(open_tokens(ByteSpan(sealed_).first(enough), key_).value(), object_.tokens);
  EXPECT_EQ(open_tokens(ByteSpan(sealed_).first(enough - 1), key_).error().kind, ErrorKind::format);
}

TEST_F(SealedObject, AlteredAnywhereIsRefused) {
  for (size_t at = 0; at < sealed_.size(); ++at) {
    for (const uint8_t bit : {1, 128}) {
      const auto opened = open(with(at, uint8_t(sealed_[at] ^ bit)), key_);
      ASSERT_FALSE(opened.ok()) << at;
      const ErrorKind kind = opened.error().kind;
      EXPECT_TRUE(kind == ErrorKind::format || kind == ErrorKind::mismatch) << at;
      // The cells alone are not looked at for tokens.
      const bool of_tokens = at < bytes_to_tokens(object_.head);
      EXPECT_EQ(open_tokens(with(at, uint8_t(sealed_[at] ^ bit)), key_).ok(), !of_tokens) << at;
    }
  }
}

TEST_F(SealedObject, OfAnotherKeyIsRefused) {
  EXPECT_EQ(open(sealed_, key_of(1)).error().kind, ErrorKind::mismatch);
  EXPECT_EQ(open_tokens(sealed_, key_of(1)).error().kind, ErrorKind::mismatch);
  EXPECT_TRUE(read_head(sealed_).ok()) << "the head needs no key";
}

TEST_F(SealedObject, CutShortOrTooLongIsRefused) {
  for (size_t size = 0; size < sealed_.size(); ++size) {
    const Bytes cut(sealed_.begin(), sealed_.begin() + ptrdiff_t(size));  // its own memory
    EXPECT_EQ(open(cut, key_).error().kind, ErrorKind::format) << size;
    EXPECT_EQ(read_head(cut).ok(), size >= kHeadBytes) << size;
  }
  Bytes longer = sealed_;
  longer.push_back(0);
  EXPECT_EQ(open(longer, key_).error().kind, ErrorKind::format);
}

// Memory is not even asked for: there is none of that size.
TEST_F(SealedObject, HugeClaimsAreRefused) {
  for (const uint64_t cells : {uint64_t{101}, uint64_t{1} << 32, uint64_t{1} << 40, UINT64_MAX}) {
    EXPECT_EQ(open(with(160, cells), key_).error().kind, ErrorKind::format) << cells;
  }
  for (const uint32_t count :
       {0u, 4u, uint32_t(limits::kTokens), uint32_t(limits::kTokens) + 1, UINT32_MAX}) {
    EXPECT_EQ(open(with(12, count), key_).error().kind, ErrorKind::format) << count;
    EXPECT_EQ(open_tokens(with(12, count), key_).ok(), false) << count;
  }
}

TEST_F(SealedObject, HeadsThatCannotBeAreRefused) {
  const auto refused = [&](const Bytes& bytes, const std::string& says) {
    const auto head = read_head(bytes);
    ASSERT_FALSE(head.ok()) << says;
    EXPECT_EQ(head.error().kind, ErrorKind::format);
    EXPECT_THAT(head.error().message, HasSubstr(says));
  };
  refused(with(0, 'x'), "no object");
  refused(with(8, uint16_t{2}), "version 2");
  for (const uint8_t kind : {0, 3, 255}) refused(with(10, kind), "kind");
  refused(with(11, uint8_t{2}), "flags 2");
  refused(with(16, uint64_t{4}), "cannot have this parent");  // it begins at its root
  refused(with(16, ~uint64_t{0}), "tokens behind");
  refused(with(24, ~uint64_t{0}), "made at second");
  refused(with(64, object_.head.own.bytes), "cannot have this parent");
  refused(with(96, object_.head.root.bytes), "cannot have this parent");
}

// Tokens and cells of two objects are not put together anew.
TEST_F(SealedObject, PartsOfOthersDoNotFit) {
  const Bytes other = seal(object_, key_).value();  // of the same head but for the nonces
  Bytes mixed = sealed_;
  std::copy(other.begin() + 244, other.end(), mixed.begin() + 244);
  EXPECT_EQ(open(mixed, key_).error().kind, ErrorKind::mismatch);
  std::copy(other.begin() + 192, other.begin() + 216, mixed.begin() + 192);
  EXPECT_EQ(open(mixed, key_).error().kind, ErrorKind::mismatch) << "nor with the nonce";
}

// By one who has the key, as seal() would not do it.
TEST_F(SealedObject, UnderAnotherNameIsRefused) {
  Bytes named = with(96, Hash::of({}).bytes);
  const auto seal_again = [&](size_t nonce, size_t at, ByteSpan text) {
    crypto_aead_xchacha20poly1305_ietf_encrypt(&named[at], nullptr, text.data(), text.size(),
                                               named.data(), 216, nullptr, &named[nonce],
                                               key_.sealing().data());
  };
  seal_again(168, 216, {reinterpret_cast<const uint8_t*>(object_.tokens.data()), 12});
  seal_again(192, 244, object_.cells);
  EXPECT_THAT(open_tokens(named, key_).error().message, HasSubstr("not that of its tokens"));
  EXPECT_EQ(open(named, key_).error().kind, ErrorKind::mismatch);
}

TEST_F(SealedObject, WhatCouldNotBeOpenedIsNotSealed) {
  Object wrong = object_;
  wrong.tokens[0] = 6;
  EXPECT_EQ(seal(wrong, key_).error().kind, ErrorKind::mismatch);
  wrong = object_, wrong.tokens.push_back(1);
  EXPECT_EQ(seal(wrong, key_).error().kind, ErrorKind::usage);
  wrong = object_, wrong.head.first = 1;
  EXPECT_EQ(seal(wrong, key_).error().kind, ErrorKind::usage);
  wrong = object_, wrong.head.kind = ObjectKind::tail;
  EXPECT_EQ(seal(wrong, key_).error().kind, ErrorKind::mismatch);
  wrong = object_, wrong.tokens.clear(), wrong.head.count = 0;
  EXPECT_EQ(seal(wrong, key_).error().kind, ErrorKind::usage);
}

}  // namespace
}  // namespace kvsplice::store
