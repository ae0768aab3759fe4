// The verb `store`, on stores that are filled through the library.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "program.h"
#include "store/store.h"
#include "store/store_objects_test.h"

namespace kvsplice::cli {
namespace {

namespace fs = std::filesystem;
using store::Hash;
using store::Object;
using store::Store;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

class StoreVerb : public ::testing::Test {
 protected:
  StoreVerb() {
    auto store = Store::open(path_).value();
    alice_ = put(store, store::text(0, 11), "alice");
    other_ = put(store, store::text(0, 6), "bob");
    put(store, store::text(100, 3), "bob");
    fingerprint_ = store.key().fingerprint();
  }

  static std::vector<std::string> put(Store& store, const std::vector<int32_t>& tokens,
                                      const std::string& tenant) {
    std::vector<std::string> names;
    for (Object& o : store::objects_of(root_named(store.key(), tenant), tokens)) {
      o.head.owner = store.key().owner_of(tenant);
      EXPECT_TRUE(store.put(o).ok());
      names.push_back(o.head.own.hex());
    }
    return names;
  }
  std::string verb(const std::string& words) const { return "store " + words + in_; }
  std::string root_of(const std::string& tenant) const {
    return root_named(Store::open(path_).value().key(), tenant).hex();
  }
  size_t objects() const { return Store::open(path_).value().totals()->objects; }
  std::string file_of(const std::string& name) const {
    return path_ + "/objects/" + name.substr(0, 2) + "/" + name + ".kvo";
  }

  Folder tmp_;
  const std::string path_ = tmp_ / "store", in_ = " --store " + path_;
  std::vector<std::string> alice_, other_;
  std::string fingerprint_;
};

TEST_F(StoreVerb, ListsATreeWithoutAToken) {
  must(verb("pin " + alice_[1].substr(0, 8)));
  {
    auto store = Store::open(path_).value();
    put(store, {0, 1, 2, 3, 4, 5, 6, 7, 50}, "alice");
  }
  const std::string text = must(verb("ls"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 7 + 2 * 2 + 1) << text;
  EXPECT_THAT(text, HasSubstr("root " + root_of("alice").substr(0, 12)));
  EXPECT_THAT(text, ContainsRegex("\n  " + alice_[0].substr(0, 12) +
                                  " +block +0 \\.\\.\\. 3 +4 +364 B +[0-9]+ s ago\n"));
  EXPECT_THAT(text, ContainsRegex("\n  " + alice_[1].substr(0, 12) +
                                  " +block +4 \\.\\.\\. 7 +4 +364 B +[0-9]+ s ago  pinned\n"));
  EXPECT_THAT(text,
              ContainsRegex("\n    " + alice_[2].substr(0, 12) + " +tail +8 \\.\\.\\. 10 +3 "))
      << "a step to the right, as texts part";
  EXPECT_THAT(text, Not(HasSubstr("lost")));
  fs::remove(file_of(alice_[0]));
  must(verb("verify"));
  EXPECT_THAT(must(verb("ls")), ContainsRegex(alice_[1].substr(0, 12) + ".*lost"));
}

TEST_F(StoreVerb, TellsHowMuchThereIs) {
  const std::string text = must(verb("stat"));
  EXPECT_THAT(text, HasSubstr(path_ + ": store, key " + fingerprint_));
  EXPECT_THAT(text, HasSubstr("6 objects (3 tails, 0 pinned), 20 tokens, 2.1 KiB"));
  EXPECT_THAT(text, HasSubstr("root " + root_of("bob").substr(0, 12) +
                              ": 3 objects (2 tails, 0 pinned), 9 tokens"));
}

TEST_F(StoreVerb, VerifiesAndRepairs) {
  EXPECT_EQ(must(verb("verify")), "6 objects sound, 0 damaged\n");
  std::string bytes = slurp(file_of(alice_[1]));
  bytes[300] ^= 1;
  spill(file_of(alice_[1]), bytes);
  const Outcome found = run(verb("verify"));
  EXPECT_EQ(found.code, 1);
  EXPECT_THAT(found.text, HasSubstr(file_of(alice_[1]) + ": an object was altered"));
  EXPECT_THAT(found.text, HasSubstr("5 objects sound, 1 damaged\n"));
  EXPECT_THAT(found.text, HasSubstr("kvsplice: " + path_ + ": 1 object damaged; --repair"));
  EXPECT_THAT(must(verb("verify --repair")), HasSubstr("1 damaged and removed"));
  EXPECT_EQ(must(verb("verify")), "5 objects sound, 0 damaged\n");
  EXPECT_THAT(must(verb("gc")), HasSubstr("dropped 1 object, 360 B; 4 objects"));
}

TEST_F(StoreVerb, CutsToACapAndAnAge) {
  EXPECT_THAT(must(verb("gc")), HasSubstr("dropped 0 objects, 0 B; 6 objects"));
  EXPECT_THAT(must(verb("gc --cap 1M --ttl 1d")), HasSubstr("dropped 0 objects"));
  EXPECT_THAT(must(verb("gc --cap 1K")), HasSubstr("2 objects, "));
  must(verb("pin " + Store::open(path_).value().entries().value()[0].head.own.hex()));
  EXPECT_THAT(must(verb("gc --cap 0")), HasSubstr("1 object, ")) << "what is pinned stays";
  for (const char* wrong : {"--cap 1X", "--cap -1", "--ttl 1w", "--ttl 1.5h"}) {
    const Outcome refused = run(verb(std::string("gc ") + wrong));
    EXPECT_EQ(refused.code, 2) << wrong;
    EXPECT_THAT(refused.text, HasSubstr("legal: whole numbers"));
  }
  EXPECT_EQ(objects(), 1u);
}

TEST_F(StoreVerb, PinsWhatItsFirstDigitsName) {
  must(verb("pin " + alice_[0].substr(0, 6)));
  EXPECT_EQ(Store::open(path_).value().totals()->pinned, 1u);
  must(verb("unpin " + alice_[0]));
  EXPECT_EQ(Store::open(path_).value().totals()->pinned, 0u);
  refused(verb("pin " + alice_[0].substr(0, 5)), 2, "names no object; legal: its first 6 ... 64");
  refused(verb("pin " + std::string(64, '0')), 2, "no object begins with 0000");
  refused(verb("pin xyzxyz"), 2, "hexadecimal digits");
  refused(verb("pin " + alice_[0] + "0"), 2, "legal: its first 6 ... 64");
}

TEST_F(StoreVerb, DropsOneWayAtATime) {
  refused(verb("drop"), 2, "name what to drop");
  refused(verb("drop --all --tenant bob"), 2, "name what to drop");
  refused(verb("drop --root " + root_of("nobody")), 2, "no root begins with");
  EXPECT_THAT(must(verb("drop --tenant nobody")), HasSubstr("dropped 0 objects"));
  EXPECT_THAT(must(verb("drop --tenant ''")), HasSubstr("dropped 0 objects"));
  EXPECT_THAT(must(verb("drop " + alice_[1].substr(0, 10))), HasSubstr("dropped 2 objects"));
  EXPECT_THAT(must(verb("drop --tenant bob")), HasSubstr("dropped 3 objects"));
  EXPECT_TRUE(fs::exists(file_of(alice_[0])));
  EXPECT_FALSE(fs::exists(file_of(other_[0])));
  EXPECT_THAT(must(verb("drop --root " + root_of("alice").substr(0, 9))),
              HasSubstr("dropped 1 object, 364 B; 0 objects, 0 B are left"));
}

TEST_F(StoreVerb, DropsAllAlsoWhatIsDamaged) {
  spill(file_of(alice_[0]), "damaged");
  fs::remove(path_ + "/index.sqlite");
  must(verb("drop --all"));
  EXPECT_EQ(objects(), 0u);
  EXPECT_FALSE(fs::exists(file_of(alice_[0])));
}

TEST_F(StoreVerb, ExportsAndImports) {
  EXPECT_EQ(
      must(verb("export " + tmp_ / "all")),
      tmp_ / "all" + ": 6 objects; only stores with the key " + fingerprint_ + " can take them\n");
  refused("store import " + tmp_ / "all" + " --store " + tmp_ / "stranger", 1, "another key");
  fs::create_directory(tmp_ / "new");
  fs::copy(path_ + "/key", tmp_ / "new/key");
  const std::string import = "store import " + tmp_ / "all" + " --store " + tmp_ / "new";
  EXPECT_THAT(must(import), HasSubstr("6 objects taken up"));
  EXPECT_THAT(must(import), HasSubstr("0 objects taken up"));
  EXPECT_THAT(must("store stat --store " + tmp_ / "new"), HasSubstr("20 tokens"));
  spill(tmp_ / "junk", "junk");
  refused(verb("import " + tmp_ / "junk"), 1, "junk: no archive");
  refused(verb("import " + tmp_ / "none"), 1, "No such file");
  refused(verb("export " + tmp_ / "no/such/x"), 1, "No such file");
  const Outcome piped = shell(std::string(KVSPLICE_BINARY) + " " + verb("export /dev/stdout") +
                              " 2>/dev/null | cmp - " + tmp_ / "all");
  EXPECT_EQ(piped.code, 0) << piped.text;
}

TEST_F(StoreVerb, FindsTheStoreOfTheUser) {
  const std::string program = std::string(KVSPLICE_BINARY) + " store stat";
  const auto where = [&](const std::string& variables) {
    return shell("env -u KVSPLICE_STORE -u XDG_DATA_HOME HOME=" + tmp_ / "home" + " " + variables +
                 " " + program);
  };
  EXPECT_THAT(where("KVSPLICE_STORE=" + path_).text, HasSubstr(path_ + ": store"));
  fs::create_directories(tmp_ / "data/kvsplice");
  fs::rename(path_, tmp_ / "data/kvsplice/store");
  EXPECT_THAT(where("XDG_DATA_HOME=" + tmp_ / "data").text,
              HasSubstr("data/kvsplice/store: store"));
  fs::create_directories(tmp_ / "home/.local");
  fs::rename(tmp_ / "data", tmp_ / "home/.local/share");
  EXPECT_THAT(where("").text, HasSubstr("home/.local/share/kvsplice/store: store"));
  const Outcome none = where("HOME=");
  EXPECT_EQ(none.code, 2);
  EXPECT_THAT(none.text, HasSubstr("name a store (--store)"));
}

TEST_F(StoreVerb, SaysWhatTheSystemRefuses) {
  const Outcome full = shell("ulimit -f 8; " + std::string(KVSPLICE_BINARY) + ' ' + verb("ls"));
  EXPECT_EQ(full.code, 1);
  EXPECT_THAT(full.text, HasSubstr("index.sqlite: disk I/O error: File too large"));
}

TEST_F(StoreVerb, MakesNoStoreWhereItLooksForOne) {
  for (const char* words : {"ls", "stat", "verify", "gc", "drop --all", "export x"}) {
    refused(std::string("store ") + words + " --store " + tmp_ / "typo", 1, "typo is no store");
  }
  EXPECT_FALSE(fs::exists(tmp_ / "typo"));
  fs::remove(path_ + "/key");
  refused(verb("ls"), 1, "not the key they were sealed by");
  refused("store", 2, "subcommand");
  refused("store nonsense", 2, "subcommand");
}

}  // namespace
}  // namespace kvsplice::cli
