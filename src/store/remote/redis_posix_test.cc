// A real redis-server, and servers that are none.
#include <gmock/gmock.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <filesystem>
#include <optional>

#include "core/stopwatch.h"
#include "core/temporary_folder.h"
#include "store/remote/loopback_test.h"
#include "store/remote/redis.h"

namespace kvsplice::store {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::unique_ptr<Remote> redis_at(const std::string& url) {
  return make_redis(RemoteUrl::parse(url).value());
}
Patience some_time(milliseconds time = seconds(20), milliseconds stall = seconds(5)) {
  return Patience(steady_now() + time, stall);
}

// --- the real one --------------------------------------------------------------------------------

class RealRedis : public testing::Test {
 protected:
  void start(std::vector<std::string> more = {}) {
    fs::remove(socket_);
    std::vector<std::string> words = {"redis-server", "--port",    "0",        "--unixsocket",
                                      socket_,        "--save",    "",         "--dir",
                                      folder_.path(), "--logfile", "redis.log"};
    words.insert(words.end(), more.begin(), more.end());
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      std::vector<char*> arguments;
      for (std::string& word : words) arguments.push_back(word.data());
      arguments.push_back(nullptr);
      ::execvp(arguments[0], arguments.data());
      ::_exit(127);
    }
    const Stopwatch watch;
    while (!answers() && watch.seconds() < 20) std::this_thread::sleep_for(milliseconds(5));
    ASSERT_TRUE(answers());
  }
  // Be it that it wants a password.
  bool answers() const {
    Patience patience = some_time();
    const auto count = redis_at(url())->count(patience);
    return count.ok() || count.error().kind == ErrorKind::unsupported;
  }
  void stop() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  void SetUp() override {
    if (std::system("command -v redis-server > /dev/null") != 0) {
      GTEST_SKIP()
          << "no redis-server: `tools/setup.sh --server` or `apt-get install redis-server`";
    }
  }
  void TearDown() override { stop(); }
  std::string url(const std::string& options = "") const { return "unix://" + socket_ + options; }

  const TemporaryFolder folder_ = TemporaryFolder::create("redis-test").value();
  const std::string socket_ = folder_.file("redis.sock");
  pid_t pid_ = -1;
};

TEST_F(RealRedis, KeepsValues) {
  start();
  const auto redis = redis_at(url("?prefix=t:&ttl=100"));
  Patience patience = some_time();
  const std::vector<Hash> names = {named("a"), named("b"), named("c")};
  EXPECT_THAT(redis->sizes(names, patience).value(), ElementsAre(0, 0, 0));
  const Bytes large = value(20 << 20), small = value(1, 9);
  ASSERT_TRUE(redis->put(names[0], large, patience).ok());
  ASSERT_TRUE(redis->put(names[2], small, patience).ok());
  EXPECT_THAT(redis->sizes(names, patience).value(), ElementsAre(large.size(), 0, 1));
  EXPECT_EQ(redis->count(patience).value(), 2u);
  std::vector<Bytes> found;
  ASSERT_TRUE(redis->get(names, large.size(), patience, found).ok());
  EXPECT_THAT(found, ElementsAre(large, Bytes(), small));
  ASSERT_TRUE(redis->put(names[2], value(5), patience).ok()) << "in its place";
  ASSERT_TRUE(redis->drop(names[0], patience).ok());
  ASSERT_TRUE(redis->drop(names[1], patience).ok()) << "what is not there";
  EXPECT_THAT(redis->sizes(names, patience).value(), ElementsAre(0, 0, 5));
  const auto other = redis_at(url("?prefix=other:"));
  EXPECT_THAT(other->sizes(names, patience).value(), ElementsAre(0, 0, 0));
  const auto elsewhere = redis_at(url("?db=1&prefix=t:"));
  EXPECT_THAT(elsewhere->sizes(names, patience).value(), ElementsAre(0, 0, 0));
}

TEST_F(RealRedis, ValuesGoAfterTheirTime) {
  start();
  const auto redis = redis_at(url("?ttl=1"));
  Patience patience = some_time();
  const Hash name = named("a");
  ASSERT_TRUE(redis->put(name, value(3), patience).ok());
  const Stopwatch watch;
  while (redis->sizes({&name, 1}, patience).value()[0] > 0 && watch.seconds() < 10) {
    std::this_thread::sleep_for(milliseconds(50));
  }
  EXPECT_THAT(redis->sizes({&name, 1}, patience).value(), ElementsAre(0));
}

TEST_F(RealRedis, WantsItsPassword) {
  start({"--requirepass", "hu/sh"});
  Patience patience = some_time();
  const auto wanted = redis_at("unix://:hu%2Fsh@" + socket_);
  EXPECT_TRUE(wanted->count(patience).ok());
  const auto wrong = redis_at("unix://:nohush@" + socket_)->count(patience);
  EXPECT_EQ(wrong.error().kind, ErrorKind::unsupported);
  EXPECT_THAT(wrong.error().message, Not(HasSubstr("hush")));
  const auto none = redis_at(url())->count(patience);
  EXPECT_EQ(none.error().kind, ErrorKind::unsupported);
  EXPECT_THAT(none.error().message, HasSubstr("NOAUTH"));
}

TEST_F(RealRedis, FullRefusesAndStillGives) {
  start();
  const auto redis = redis_at(url());
  Patience patience = some_time();
  const Hash name = named("a"), other = named("b");
  ASSERT_TRUE(redis->put(name, value(1000), patience).ok());
  stop();
  start({"--maxmemory", "1", "--maxmemory-policy", "noeviction"});
  const auto done = redis->put(other, value(1000), patience);
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().kind, ErrorKind::unsupported);
  EXPECT_THAT(done.error().message, HasSubstr("OOM"));
  EXPECT_TRUE(redis->sizes({&name, 1}, patience).ok());
}

TEST_F(RealRedis, ThatWasStartedAnewIsFoundAgain) {
  start();
  const auto redis = redis_at(url());
  Patience patience = some_time();
  const Hash name = named("a");
  ASSERT_TRUE(redis->put(name, value(3), patience).ok());
  stop();
  EXPECT_EQ(redis->put(name, value(3), patience).error().kind, ErrorKind::io);
  start();
  EXPECT_THAT(redis->sizes({&name, 1}, patience).value(), ElementsAre(0));
  stop();
  start();
  EXPECT_TRUE(redis->put(name, value(3), patience).ok()) << "by a connection that was idle";
}

TEST_F(RealRedis, TakesManyThreads) {
  start();
  const auto redis = redis_at(url());
  std::vector<std::thread> threads;
  for (uint8_t t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (uint8_t i = 0; i < 20; ++i) {
        Patience patience = some_time();
        const Hash name = named({char('a' + t), char('a' + i)});
        EXPECT_TRUE(redis->put(name, value(1000, t), patience).ok());
        std::vector<Bytes> found;
        EXPECT_TRUE(redis->get({&name, 1}, 1000, patience, found).ok());
        EXPECT_THAT(found, ElementsAre(value(1000, t)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// --- others --------------------------------------------------------------------------------------

struct Answer {
  const char* what;
  std::string text;
};

class OtherRedis : public testing::TestWithParam<Answer> {};

TEST_P(OtherRedis, IsAnErrorAtOnce) {
  const Loopback server([](const Talk& talk) {
    while (!talk.hear().empty() && talk.say(GetParam().text)) {
    }
  });
  const auto redis = redis_at("redis://" + server.authority());
  const std::vector<Hash> names = {named("a"), named("b")};
  const Stopwatch watch;
  Patience patience = some_time(seconds(10), milliseconds(300));
  EXPECT_FALSE(redis->sizes(names, patience).ok());
  std::vector<Bytes> found;
  EXPECT_FALSE(redis->get(names, 1000, patience, found).ok());
  EXPECT_FALSE(redis->put(names[0], value(10), patience).ok());
  EXPECT_LT(watch.seconds(), 3);
}

INSTANTIATE_TEST_SUITE_P(
    Answers, OtherRedis,
    testing::Values(Answer{"Nothing", "?"}, Answer{"Http", "HTTP/1.1 400 Bad Request\r\n\r\n"},
                    Answer{"Error", "-ERR no\r\n"}, Answer{"Array", "*2\r\n:1\r\n:1\r\n"},
                    Answer{"HugeArray", "*2147483647\r\n"}, Answer{"Nested", "*1\r\n*1\r\n"},
                    Answer{"NegativeSize", ":-5\r\n"}, Answer{"NoSize", "$abc\r\n"},
                    Answer{"Half", "$100\r\nabc"}, Answer{"HugeSize", "$9223372036854775807\r\n"},
                    Answer{"LongLine", "+" + std::string(200000, 'x')}),
    [](const auto& about) { return about.param.what; });

TEST(Redis, AFloodIsCutOff) {
  std::atomic<size_t> sent = 0;
  const Loopback server([&](const Talk& talk) {
    talk.hear();
    const std::string much(1 << 20, 'x');
    talk.say("$1000000000\r\n");
    while (talk.say(much)) sent += much.size();
  });
  const auto redis = redis_at("redis://" + server.authority());
  Patience patience = some_time();
  std::vector<Bytes> found;
  const Hash name = named("a");
  EXPECT_THAT(redis->get({&name, 1}, 1000, patience, found).error().message,
              HasSubstr("more bytes"));
  EXPECT_LT(sent, size_t{64} << 20) << "what lies in the system's buffers";
}

TEST(Redis, SilenceEndsPatience) {
  const Loopback server([](const Talk& talk) {
    while (!talk.hear().empty()) {
    }
  });
  for (const std::string& url :
       {"redis://" + server.authority(), "redis://:hush@" + server.authority()}) {
    const auto redis = redis_at(url);
    const Stopwatch watch;
    Patience patience = some_time(seconds(10), milliseconds(200));
    const Hash name = named("a");
    EXPECT_THAT(redis->sizes({&name, 1}, patience).error().message, HasSubstr("in time"));
    EXPECT_GE(watch.seconds(), 0.2);
    EXPECT_LT(watch.seconds(), 3);
  }
}

TEST(Redis, ATrickleEndsPatience) {
  const Loopback server([](const Talk& talk) {
    talk.hear();
    talk.say("$100000\r\n");
    while (talk.say("x")) std::this_thread::sleep_for(milliseconds(10));
  });
  const auto redis = redis_at("redis://" + server.authority());
  const Stopwatch watch;
  Patience patience = some_time(seconds(10), milliseconds(200));
  patience.expect(100000);
  std::vector<Bytes> found;
  const Hash name = named("a");
  EXPECT_FALSE(redis->get({&name, 1}, 100000, patience, found).ok());
  EXPECT_LT(watch.seconds(), 3);
}

TEST(Redis, NobodyThereIsAnErrorAtOnce) {
  std::string gone;
  {
    const Loopback server([](const Talk&) {});
    gone = server.authority();
  }
  for (const std::string& url : {"redis://" + gone, std::string("unix:///no/such/redis.sock"),
                                 std::string("redis://no-such-host.invalid")}) {
    const Stopwatch watch;
    Patience patience = some_time(seconds(10), milliseconds(200));
    EXPECT_EQ(redis_at(url)->count(patience).error().kind, ErrorKind::io);
    EXPECT_LT(watch.seconds(), 3) << url;
  }
}

}  // namespace
}  // namespace kvsplice::store
