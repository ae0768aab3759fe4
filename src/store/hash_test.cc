// Names are known answers: computed by Python's hashlib and hmac from what docs/store.md says.
#include "store/hash.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <thread>

#include "core/file.h"
#include "core/temporary_folder.h"
#include "store/store_objects_test.h"

namespace kvsplice::store {
namespace {

using testing::HasSubstr;

TEST(Hash, IsSha256) {
  EXPECT_EQ(Hash::of({}).hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  const Bytes abc = {'a', 'b', 'c'};
  EXPECT_EQ(Hash::of(abc).hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Hash, ComesBackFromItsDigitsAndFromNothingElse) {
  const Hash hash = Hash::of({});
  EXPECT_EQ(Hash::of_hex(hash.hex()).value(), hash);
  std::string capital = hash.hex();
  capital[0] = 'E';
  for (const std::string& wrong : {std::string(), hash.hex().substr(1), hash.hex() + "0", capital,
                                   std::string(64, 'g'), std::string(64, '/')}) {
    EXPECT_EQ(Hash::of_hex(wrong).error().kind, ErrorKind::format) << wrong;
  }
}

TEST(Key, DerivesWhatItIsSpecifiedTo) {
  const Key key = key_of();
  EXPECT_EQ(key.salt_of("").hex(),
            "0e900f512d38f5a7729f813bd9b4769e45d0211cb766d220b24d991fb457e21e");
  EXPECT_EQ(key.salt_of("alice").hex(),
            "2a7f7ad847bf209c45deffa5b11278314da15cff5b4ac24bb7f4fdd0bfd68b10");
  EXPECT_EQ(key.owner_of("alice").hex(),
            "faa45941d66219f75fdebc04231125885ad8e006c3d431fd5f9c903a2f6c461d");
  EXPECT_EQ(key.fingerprint(), "4c0027dde53254b0");
  Hash sealing;
  std::copy(key.sealing().begin(), key.sealing().end(), sealing.bytes.begin());
  EXPECT_EQ(sealing.hex(), "6baed576c8d2e5c5a42881f9bfaa55d41b99b65bbdc43574b2947c8d7b004372");
  EXPECT_NE(key_of(1).fingerprint(), key.fingerprint());
  EXPECT_FALSE(Key::of_bytes(Bytes(31)).ok());
}

class KeyFile : public testing::Test {
 protected:
  std::string file() const { return folder_.file("key"); }
  Result<Key> open() const { return Key::open(folder_.path()); }
  TemporaryFolder folder_ = TemporaryFolder::create("key-test").value();
};

TEST_F(KeyFile, IsMadeOnceForItsOwnerAlone) {
  const std::string made = open().value().fingerprint();
  struct stat info {};
  ASSERT_EQ(::stat(file().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(read_text(file()).value().size(), 65u);
  EXPECT_EQ(open().value().fingerprint(), made);
}

TEST_F(KeyFile, IsTheSameForThoseWhoMakeItAtOnce) {
  for (int round = 0; round < 10; ++round) {
    std::filesystem::remove(file());
    std::vector<std::string> made(6);
    std::vector<std::thread> threads;
    for (std::string& one : made) {
      threads.emplace_back([&] { one = open().value().fingerprint(); });
    }
    for (auto& t : threads) t.join();
    EXPECT_THAT(made, testing::Each(made[0]));
  }
}

TEST_F(KeyFile, OfOtherContentIsRefused) {
  for (const std::string& wrong : {std::string(), std::string(63, '0'), std::string(65, '0'),
                                   std::string(64, 'x'), std::string(5000, '0')}) {
    ASSERT_TRUE(write_text(file(), wrong).ok());
    EXPECT_FALSE(open().ok()) << wrong.size();
  }
  ASSERT_TRUE(write_text(file(), std::string(64, '0')).ok());
  EXPECT_TRUE(open().ok()) << "without the end of a line";
  EXPECT_THAT(Key::open(folder_.file("nowhere")).error().message, HasSubstr("No such file"));
}

TEST(Chain, HasTheNamesItIsSpecifiedToHave) {
  const Key key = key_of();
  const CellsOf cells = {std::string(32, 'm'), "c0dec", 256, "f16"};
  const Hash root = root_of(cells, key, "alice");
  EXPECT_EQ(root.hex(), "d98ecd1bf320db4165f65bba9713b7e5b6044342272831e7eda17c50a2e47a6d");
  const std::vector<int32_t> tokens = {1, 2, 3, -4, 5, 6, 7, 151643, 9};
  const auto chain = chain_of(root, tokens, 4);
  ASSERT_EQ(chain.size(), 2u);
  EXPECT_EQ(chain[0].hex(), "fa611810e53cd4c91bcc7b0b4e9310aa5b3ca62189d1b245af2fc18e8bbb1377");
  EXPECT_EQ(chain[1].hex(), "dd476d13141fddc7227f0ba1b91c9b10e6bd2ded4f69a1cebaca038c1be9d43d");
  EXPECT_EQ(child_of(chain[1], std::span(tokens).last(1), true).hex(),
            "b9ff214c77e8443093e55c51433368b737f6a1c1ca84397a7c7283e05feebf58");
  EXPECT_TRUE(chain_of(root, std::span(tokens).first(3), 4).empty());
  EXPECT_TRUE(chain_of(root, tokens, 0).empty());
}

TEST(Chain, EverythingThatCellsDependOnChangesTheRoot) {
  const Key key = key_of();
  const CellsOf cells = {"model", "codec", 256, "settings"};
  std::vector<Hash> roots = {root_of(cells, key, "alice"), root_of(cells, key, ""),
                             root_of(cells, key_of(1), "alice")};
  CellsOf other = cells;
  other.model = "modelc", other.codec = "odec";  // the same letters in all
  roots.push_back(root_of(other, key, "alice"));
  other = cells, other.codec = "";
  roots.push_back(root_of(other, key, "alice"));
  other = cells, other.block_tokens = 512;
  roots.push_back(root_of(other, key, "alice"));
  other = cells, other.settings = "";
  roots.push_back(root_of(other, key, "alice"));
  std::sort(roots.begin(), roots.end());
  EXPECT_EQ(std::unique(roots.begin(), roots.end()), roots.end());
}

TEST(Chain, BlocksAndTailsOfTheSameTokensHaveOtherNames) {
  const Hash root = root_named(key_of());
  EXPECT_NE(child_of(root, text(1, 4), false), child_of(root, text(1, 4), true));
}

}  // namespace
}  // namespace kvsplice::store
