#include "store/remote/remote_url.h"

#include <gmock/gmock.h>

namespace kvsplice::store {
namespace {

using testing::HasSubstr;
using testing::Not;

RemoteUrl parsed(const std::string& text) {
  auto url = RemoteUrl::parse(text);
  EXPECT_TRUE(url.ok()) << text << ": " << (url.ok() ? "" : url.error().message);
  return url.ok() ? *url : RemoteUrl();
}

TEST(RemoteUrl, OfRedis) {
  const RemoteUrl plain = parsed("redis://cache.lan");
  EXPECT_EQ(plain.kind, RemoteUrl::Kind::redis);
  EXPECT_EQ(plain.host, "cache.lan");
  EXPECT_EQ(plain.port, 6379);
  EXPECT_EQ(plain.prefix, "kvsplice:");
  EXPECT_EQ(plain.ttl, 7u * 24 * 3600);
  const RemoteUrl full = parsed("redis://me:p%40ss%2Fword@[::1]:7000/3?prefix=team:&ttl=12h");
  EXPECT_EQ(full.host, "::1");
  EXPECT_EQ(full.port, 7000);
  EXPECT_EQ(full.user, "me");
  EXPECT_EQ(full.password, "p@ss/word");
  EXPECT_EQ(full.database, 3);
  EXPECT_EQ(full.prefix, "team:");
  EXPECT_EQ(full.ttl, 12u * 3600);
  EXPECT_EQ(parsed("redis://:secret@h").password, "secret");
  EXPECT_EQ(parsed("redis://:a@b@h/").password, "a@b");
}

TEST(RemoteUrl, OfASocket) {
  const RemoteUrl url = parsed("unix:///run/redis/redis.sock?db=2&ttl=60");
  EXPECT_EQ(url.socket, "/run/redis/redis.sock");
  EXPECT_EQ(url.database, 2);
  EXPECT_EQ(url.ttl, 60u);
  EXPECT_EQ(parsed("unix://:secret@/run/r.sock").password, "secret");
}

TEST(RemoteUrl, OfS3) {
  const RemoteUrl plain = parsed("s3+http://localhost:9000/cells");
  EXPECT_EQ(plain.kind, RemoteUrl::Kind::s3);
  EXPECT_FALSE(plain.encrypted);
  EXPECT_EQ(plain.bucket, "cells");
  EXPECT_EQ(plain.prefix, "");
  const RemoteUrl full = parsed("s3+https://s3.eu-west-1.amazonaws.com/cells/team/a/");
  EXPECT_TRUE(full.encrypted);
  EXPECT_EQ(full.port, 443);
  EXPECT_EQ(full.prefix, "team/a/");
}

TEST(RemoteUrl, ShowsNoSecret) {
  for (const char* text : {"redis://me:hush@h:1/2?prefix=p:", "unix://:hush@/s.sock"}) {
    EXPECT_THAT(parsed(text).shown(), Not(HasSubstr("hush")));
  }
  EXPECT_EQ(parsed("redis://me:hush@h:1/2?prefix=p:").shown(), "redis://h:1/2?prefix=p:");
  EXPECT_EQ(parsed("s3+https://h/b/p").shown(), "s3+https://h:443/b/p/");
}

TEST(RemoteUrl, RefusesWhatIsNone) {
  for (const char* text : {"",
                           "redis",
                           "http://h",
                           "redis://",
                           "redis://h:0",
                           "redis://h:65536",
                           "redis://h:x",
                           "redis://h/x",
                           "redis://h/-1",
                           "redis://h?ttl=0",
                           "redis://h?ttl=soon",
                           "redis://h?x=1",
                           "redis://h?db=1",
                           "redis://h?prefix=a%20b",
                           "redis://hush@h",
                           "redis://:hu%4sh@h",
                           "redis://:hush%@h",
                           "redis://[::1",
                           "redis://h h",
                           "unix://s.sock",
                           "unix://",
                           "s3+http://h",
                           "s3+http://h/",
                           "s3+http://id:hush@h/b",
                           "s3+http://h/b?x=1",
                           "s3+http://h/b/../c",
                           "s3+http://h/b c"}) {
    const auto url = RemoteUrl::parse(text);
    ASSERT_FALSE(url.ok()) << text;
    EXPECT_EQ(url.error().kind, ErrorKind::usage);
    EXPECT_THAT(url.error().message, Not(HasSubstr("hush")));
    EXPECT_THAT(url.error().message, HasSubstr("legal"));
  }
}

}  // namespace
}  // namespace kvsplice::store
