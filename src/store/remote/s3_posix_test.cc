// A small S3 of our own, and servers that are none. tests/remote asks a larger one.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <map>

#include "core/stopwatch.h"
#include "store/remote/loopback_test.h"
#include "store/remote/s3.h"

namespace kvsplice::store {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::unique_ptr<Remote> s3_at(const std::string& authority, const std::string& path = "b/p") {
  const auto url = RemoteUrl::parse("s3+http://" + authority + "/" + path).value();
  return make_s3(url, {"the-id", "the-secret", "eu-west-1"}).value();
}
Patience some_time(milliseconds stall = seconds(5)) {
  return Patience(steady_now() + seconds(20), stall);
}

// Keeps what is put.
class SmallS3 {
 public:
  SmallS3() : server_([this](const Talk& talk) { serve(talk); }) {}
  std::string authority() const { return server_.authority(); }
  std::vector<std::string> requests() {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  int status = 0;  // of all answers, if it is not 0

 private:
  void serve(const Talk& talk) {
    std::string text;
    for (;;) {
      size_t end = text.npos;
      while ((end = text.find("\r\n\r\n")) == text.npos) {
        const std::string more = talk.hear();
        if (more.empty()) return;
        text += more;
      }
      const std::string head = text.substr(0, end);
      text.erase(0, end + 4);
      size_t body = 0;
      if (const size_t at = head.find("Content-Length: "); at != head.npos) {
        body = std::stoul(head.substr(at + 16));
      }
      while (text.size() < body) text += talk.hear();
      const std::string answer = answered(head, text.substr(0, body));
      text.erase(0, body);
      if (!talk.say(answer)) return;
    }
  }
  std::string answered(const std::string& head, const std::string& body) {
    const std::lock_guard lock(mutex_);
    requests_.push_back(head);
    const std::string method = head.substr(0, head.find(' '));
    const std::string path = head.substr(method.size() + 1, head.find(" HTTP") - method.size() - 1);
    if (status != 0) return fmt::format("HTTP/1.1 {} x\r\nContent-Length: 0\r\n\r\n", status);
    if (method == "PUT") values_[path] = body;
    if (method == "DELETE") values_.erase(path);
    const bool asks = method == "GET" || method == "HEAD";
    const auto at = values_.find(path);
    if (asks && at == values_.end())
      return "HTTP/1.1 404 x\r\nContent-Length: 4\r\n\r\n" +
             std::string(method == "GET" ? "none" : "");
    const std::string what = asks ? at->second : "";
    return fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", what.size(),
                       method == "GET" ? what : "");
  }

  std::mutex mutex_;
  std::map<std::string, std::string> values_;
  std::vector<std::string> requests_;
  Loopback server_;
};

TEST(S3, KeepsValues) {
  SmallS3 server;
  const auto s3 = s3_at(server.authority());
  Patience patience = some_time();
  const std::vector<Hash> names = {named("a"), named("b"), named("c")};
  EXPECT_THAT(s3->sizes(names, patience).value(), ElementsAre(0, 0, 0));
  const Bytes large = value(3 << 20), small = value(1, 9);
  ASSERT_TRUE(s3->put(names[0], large, patience).ok());
  ASSERT_TRUE(s3->put(names[1], small, patience).ok());
  EXPECT_THAT(s3->sizes(names, patience).value(), ElementsAre(large.size(), 1, 0));
  std::vector<Bytes> found;
  ASSERT_TRUE(s3->get(names, large.size(), patience, found).ok());
  EXPECT_THAT(found, ElementsAre(large, small, Bytes()));
  ASSERT_TRUE(s3->drop(names[0], patience).ok());
  EXPECT_THAT(s3->sizes(names, patience).value()[0], 0u);
  EXPECT_THAT(s3_at(server.authority(), "b")->sizes(names, patience).value(), ElementsAre(0, 0, 0))
      << "of another prefix";
}

TEST(S3, SignsAndTellsNoSecret) {
  SmallS3 server;
  Patience patience = some_time();
  ASSERT_TRUE(s3_at(server.authority())->put(named("a"), value(10), patience).ok());
  const auto requests = server.requests();
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_THAT(requests[0], HasSubstr("PUT /b/p/" + named("a").hex() + " HTTP/1.1"));
  EXPECT_THAT(requests[0], HasSubstr("AWS4-HMAC-SHA256 Credential=the-id/"));
  EXPECT_THAT(requests[0], HasSubstr("/eu-west-1/s3/aws4_request"));
  EXPECT_THAT(requests[0], HasSubstr("x-amz-content-sha256: UNSIGNED-PAYLOAD"));
  EXPECT_THAT(requests[0], Not(HasSubstr("the-secret")));
  EXPECT_THAT(requests[0], HasSubstr("SignedHeaders=host;x-amz-content-sha256;x-amz-date,"));
}

// Some at a time, and none behind one that is missing.
TEST(S3, AsksForLongPromptsInParts) {
  SmallS3 server;
  const auto s3 = s3_at(server.authority());
  Patience patience = some_time();
  std::vector<Hash> names;
  for (int i = 0; i < 100; ++i) names.push_back(named(std::to_string(i)));
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(s3->put(names[size_t(i)], value(5), patience).ok());
  const size_t before = server.requests().size();
  const auto sizes = s3->sizes(names, patience).value();
  ASSERT_EQ(sizes.size(), 100u);
  EXPECT_EQ(std::count(sizes.begin(), sizes.end(), 5u), 20);
  EXPECT_EQ(server.requests().size() - before, 32u);
}

TEST(S3, RefusalsAreErrors) {
  for (const int status : {301, 403, 500, 503}) {
    SmallS3 server;
    server.status = status;
    const auto s3 = s3_at(server.authority());
    Patience patience = some_time();
    const Hash name = named("a");
    std::vector<Bytes> found;
    for (const Result<>& done : {s3->get({&name, 1}, 100, patience, found),
                                 s3->put(name, value(3), patience), s3->drop(name, patience)}) {
      ASSERT_FALSE(done.ok());
      EXPECT_EQ(done.error().kind, ErrorKind::unsupported);
      EXPECT_THAT(done.error().message, HasSubstr(std::to_string(status)));
    }
    EXPECT_EQ(s3->sizes({&name, 1}, patience).error().kind, ErrorKind::unsupported);
  }
}

TEST(S3, AnswersAreBounded) {
  SmallS3 server;
  const auto s3 = s3_at(server.authority());
  Patience patience = some_time();
  const Hash name = named("a");
  ASSERT_TRUE(s3->put(name, value(1 << 20), patience).ok());
  std::vector<Bytes> found;
  EXPECT_FALSE(s3->get({&name, 1}, 100000, patience, found).ok());
  EXPECT_THAT(found, ElementsAre(Bytes()));
}

TEST(S3, SilenceAndNonsenseEndSoon) {
  for (const std::string answer :
       {"", "no HTTP\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"}) {
    const Loopback server([&](const Talk& talk) {
      while (!talk.hear().empty()) talk.say(answer);
    });
    const auto s3 = s3_at(server.authority());
    const Stopwatch watch;
    Patience patience = some_time(milliseconds(200));
    const Hash name = named("a");
    std::vector<Bytes> found;
    EXPECT_EQ(s3->get({&name, 1}, 100, patience, found).error().kind, ErrorKind::io);
    EXPECT_LT(watch.seconds(), 3);
  }
}

TEST(S3, NobodyThereIsAnErrorAtOnce) {
  std::string gone;
  {
    const Loopback server([](const Talk&) {});
    gone = server.authority();
  }
  for (const std::string& authority : {gone, std::string("no-such-host.invalid")}) {
    const Stopwatch watch;
    Patience patience = some_time(milliseconds(200));
    EXPECT_EQ(s3_at(authority)->count(patience).error().kind, ErrorKind::io);
    EXPECT_LT(watch.seconds(), 3) << authority;
  }
}

}  // namespace
}  // namespace kvsplice::store
