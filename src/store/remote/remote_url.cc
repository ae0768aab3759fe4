#include "store/remote/remote_url.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>

#include "core/errors.h"
#include "core/quantities.h"

namespace kvsplice::store {

namespace {

using std::string_view;

constexpr const char* kLegal =
    "redis://[:PASSWORD@]HOST:PORT[/DB][?prefix=TEXT&ttl=TIME], unix:///PATH/OF/SOCKET, "
    "s3+http://HOST:PORT/BUCKET[/PREFIX] or s3+https://...";

Error illegal(const std::string& what) {
  return usage_error(fmt::format("the URL of the remote: {}; legal: {}", what, kLegal));
}

// What stands before the separator, which is taken off, too; nothing if there is none.
std::string take_until(string_view& text, char separator) {
  const size_t at = text.find(separator);
  if (at == text.npos) return {};
  const std::string front(text.substr(0, at));
  text.remove_prefix(at + 1);
  return front;
}

template <class Number>
bool parse_number(string_view text, Number least, Number most, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && out >= least && out <= most;
}

// %3A and the like, so that a password may have any character.
Result<std::string> decode(string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    unsigned value = 0;
    const char* digits = text.data() + i + 1;
    if (text.size() - i < 3 || std::from_chars(digits, digits + 2, value, 16).ptr != digits + 2) {
      return illegal("% without two hexadecimal digits behind it");
    }
    out += static_cast<char>(value);
    i += 2;
  }
  return out;
}

// Of prefixes and buckets: what needs no quoting anywhere.
bool is_plain(const std::string& text) {
  return text.size() <= 200 && std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == ':' || c == '/';
         });
}

Result<> take_options(string_view text, RemoteUrl& url) {
  while (!text.empty()) {
    string_view option = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(text.size(), option.size() + 1));
    const std::string name = take_until(option, '=');
    if (name == "prefix") {
      url.prefix = option;
    } else if (name == "ttl") {
      const auto ttl = parse_duration(option);
      if (!ttl.ok() || *ttl == 0) return illegal("ttl is a time, as 12h or 7d");
      url.ttl = *ttl;
    } else if (name != "db" || !url.socket.size() ||
               !parse_number(option, 0, 1 << 16, url.database)) {
      return illegal("options are prefix and ttl, and for a socket db");
    }
  }
  return {};
}

Result<> take_login(string_view& text, RemoteUrl& url) {
  const size_t end = std::min(text.find('/'), text.size());
  const size_t at = text.substr(0, end).rfind('@');
  if (at == text.npos) return {};
  string_view login = text.substr(0, at);
  text.remove_prefix(at + 1);
  if (login.find(':') == login.npos) return illegal("what stands before @ is [USER]:PASSWORD");
  KVS_ASSIGN(url.user, decode(take_until(login, ':')));
  KVS_ASSIGN(url.password, decode(login));
  return {};
}

Result<> take_host(string_view text, int port, RemoteUrl& url) {
  url.port = port;
  const size_t close = text.starts_with('[') ? text.find(']') : text.npos;
  if (text.starts_with('[')) {
    if (close == text.npos) return illegal("[ without ]");
    url.host = text.substr(1, close - 1);
    text.remove_prefix(close + 1);
  } else {
    url.host = text.substr(0, text.find(':'));
    text.remove_prefix(url.host.size());
  }
  const bool legal =
      text.empty() || (text[0] == ':' && parse_number(text.substr(1), 1, 65535, url.port));
  const bool plain = !url.host.empty() && is_plain(url.host) && url.host.find('/') == url.host.npos;
  return legal && plain ? Result<>() : illegal("no HOST:PORT");
}

Result<> take_redis(string_view text, RemoteUrl& url) {
  url.prefix = "kvsplice:";
  KVS_TRY(take_login(text, url));
  const size_t question = std::min(text.find('?'), text.size());
  string_view options = text.substr(question), place = text.substr(0, question);
  const size_t slash = std::min(place.find('/'), place.size());
  const string_view database = place.substr(std::min(place.size(), slash + 1));
  KVS_TRY(take_host(place.substr(0, slash), 6379, url));
  if (!database.empty() && !parse_number(database, 0, 1 << 16, url.database)) {
    return illegal("the database is a number");
  }
  return take_options(options.substr(std::min<size_t>(options.size(), 1)), url);
}

Result<> take_socket(string_view text, RemoteUrl& url) {
  url.prefix = "kvsplice:";
  KVS_TRY(take_login(text, url));
  const size_t question = std::min(text.find('?'), text.size());
  url.socket = text.substr(0, question);
  if (!url.socket.starts_with('/')) return illegal("a socket's path begins with /");
  if (url.socket.size() > 107) return illegal("a socket's path has at most 107 characters");
  return take_options(text.substr(std::min(text.size(), question + 1)), url);
}

Result<> take_s3(string_view text, RemoteUrl& url) {
  url.kind = RemoteUrl::Kind::s3;
  if (text.find('@') != text.npos) return illegal("S3's keys stand in the environment, not in it");
  if (text.find('?') != text.npos) return illegal("S3 takes no options");
  const size_t slash = std::min(text.find('/'), text.size());
  KVS_TRY(take_host(text.substr(0, slash), url.encrypted ? 443 : 80, url));
  text.remove_prefix(std::min(text.size(), slash + 1));
  while (text.ends_with('/')) text.remove_suffix(1);
  url.bucket = text.substr(0, text.find('/'));
  if (url.bucket.empty()) return illegal("S3 needs a bucket");
  text.remove_prefix(std::min(text.size(), url.bucket.size() + 1));
  if (!text.empty()) url.prefix = std::string(text) + '/';
  return {};
}

Result<> take_scheme(string_view text, RemoteUrl& url) {
  struct Scheme {
    string_view front;
    Result<> (*take)(string_view, RemoteUrl&);
  };
  for (const Scheme& scheme : {Scheme{"redis://", take_redis}, Scheme{"unix://", take_socket},
                               Scheme{"s3+http://", take_s3}, Scheme{"s3+https://", take_s3}}) {
    if (!text.starts_with(scheme.front)) continue;
    url.encrypted = scheme.front == "s3+https://";
    text.remove_prefix(scheme.front.size());
    return scheme.take(text, url);
  }
  return illegal("it is of no kind that is known");
}

}  // namespace

Result<RemoteUrl> RemoteUrl::parse(const std::string& text) {
  RemoteUrl url;
  KVS_TRY(take_scheme(text, url));
  if (is_plain(url.prefix) && is_plain(url.bucket) && url.prefix.find("..") == url.prefix.npos) {
    return url;
  }
  return illegal("buckets and prefixes have at most 200 letters, digits and any of -_.:/");
}

std::string RemoteUrl::authority() const {
  if (host.find(':') != host.npos) return fmt::format("[{}]:{}", host, port);
  return fmt::format("{}:{}", host, port);
}

std::string RemoteUrl::shown() const {
  if (kind == Kind::s3) {
    return fmt::format("s3+http{}://{}/{}/{}", encrypted ? "s" : "", authority(), bucket, prefix);
  }
  if (!socket.empty()) return fmt::format("unix://{}?db={}&prefix={}", socket, database, prefix);
  return fmt::format("redis://{}/{}?prefix={}", authority(), database, prefix);
}

}  // namespace kvsplice::store
