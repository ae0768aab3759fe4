#include "store/remote/http_calls.h"

#include <algorithm>
#include <cstring>

namespace kvsplice::store {

namespace {

constexpr size_t kMostIdle = 4;

Error out_of_curl() { return {ErrorKind::memory, "libcurl has no memory"}; }

}  // namespace

// What libcurl calls back with; it must stay where it is.
struct HttpCalls::Transfer {
  HttpCall& call;
  Patience& patience;
  size_t sent = 0;
  bool too_long = false;
  Lines headers;
  Easy easy;

  static size_t write(char* data, size_t, size_t size, void* self) {
    auto& t = *static_cast<Transfer*>(self);
    t.patience.got(size);
    t.too_long = size > t.call.most - std::min<uint64_t>(t.call.most, t.call.body.size());
    if (t.too_long) return 0;
    t.call.body.insert(t.call.body.end(), data, data + size);
    return size;
  }
  static size_t read(char* data, size_t, size_t size, void* self) {
    auto& t = *static_cast<Transfer*>(self);
    const size_t n = std::min(size, t.call.sent.size() - t.sent);
    if (n > 0) std::memcpy(data, t.call.sent.data() + t.sent, n);
    t.sent += n;
    t.patience.got(n);
    return n;
  }
};

Result<std::unique_ptr<HttpCalls>> HttpCalls::create(std::string signature, std::string user) {
  static const CURLcode begun = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (begun != CURLE_OK) return Error{ErrorKind::io, "libcurl cannot begin"};
  return std::unique_ptr<HttpCalls>(new HttpCalls(std::move(signature), std::move(user)));
}

HttpCalls::Multi HttpCalls::take_idle() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return Multi(curl_multi_init());
  Multi multi = std::move(idle_.back());
  idle_.pop_back();
  return multi;
}

void HttpCalls::give_back(Multi multi) {
  const std::lock_guard lock(mutex_);
  if (idle_.size() < kMostIdle) idle_.push_back(std::move(multi));
}

bool HttpCalls::prepare(Transfer& t) const {
  using Method = HttpCall::Method;
  t.easy.reset(curl_easy_init());
  CURL* easy = t.easy.get();
  if (easy == nullptr) return false;
  // The hash of the body is not signed: what is in it is sealed. libcurl 7.88 signs all headers
  // that it is given, also those that it is to leave out.
  t.headers.reset(curl_slist_append(nullptr, "x-amz-content-sha256: UNSIGNED-PAYLOAD"));
  bool well = t.headers != nullptr;
  const auto set = [&](CURLoption option, auto value) {
    well = well && curl_easy_setopt(easy, option, value) == CURLE_OK;
  };
  set(CURLOPT_URL, t.call.url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_QUICK_EXIT, 1L);  // of threads that look up a host
  set(CURLOPT_AWS_SIGV4, signature_.c_str());
  set(CURLOPT_USERPWD, user_.c_str());
  set(CURLOPT_HTTPHEADER, t.headers.get());
  set(CURLOPT_WRITEFUNCTION, &Transfer::write);
  set(CURLOPT_WRITEDATA, static_cast<void*>(&t));
  set(CURLOPT_PRIVATE, static_cast<void*>(&t));
  if (t.call.method == Method::head) set(CURLOPT_NOBODY, 1L);
  if (t.call.method == Method::drop) set(CURLOPT_CUSTOMREQUEST, "DELETE");
  if (t.call.method == Method::put) {
    set(CURLOPT_UPLOAD, 1L);
    set(CURLOPT_EXPECT_100_TIMEOUT_MS, 100L);  // not every server answers "Expect"
    set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(t.call.sent.size()));
    set(CURLOPT_READFUNCTION, &Transfer::read);
    set(CURLOPT_READDATA, static_cast<void*>(&t));
  }
  return well;
}

// Until all are over.
Result<> HttpCalls::drive(CURLM* multi, Patience& patience) {
  for (int running = 1;;) {
    if (curl_multi_perform(multi, &running) != CURLM_OK) return out_of_curl();
    if (running == 0) return {};
    const Milliseconds left = patience.left();
    if (left == Milliseconds(0)) return Error{ErrorKind::io, "S3: no answer in time"};
    if (curl_multi_poll(multi, nullptr, 0, static_cast<int>(left.count()), nullptr) != CURLM_OK) {
      return out_of_curl();
    }
  }
}

Result<> HttpCalls::run(std::span<HttpCall> calls, Patience& patience) {
  Multi multi = take_idle();
  if (multi == nullptr) return out_of_curl();
  std::vector<std::unique_ptr<Transfer>> transfers;
  bool well = true;
  for (HttpCall& call : calls) {
    auto& t = transfers.emplace_back(new Transfer{call, patience, 0, false, nullptr, nullptr});
    well = prepare(*t) && curl_multi_add_handle(multi.get(), t->easy.get()) == CURLM_OK;
    if (!well) break;
  }
  const Result<> driven = well ? drive(multi.get(), patience) : out_of_curl();
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi.get(), &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    void* self = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &self);
    Transfer& t = *static_cast<Transfer*>(self);
    if (message->data.result == CURLE_OK) {
      curl_off_t length = 0;
      curl_easy_getinfo(t.easy.get(), CURLINFO_RESPONSE_CODE, &t.call.status);
      curl_easy_getinfo(t.easy.get(), CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
      t.call.length = static_cast<uint64_t>(std::max<curl_off_t>(length, 0));
    } else {
      t.call.error = t.too_long ? "an answer of more bytes than it may have"
                                : curl_easy_strerror(message->data.result);
    }
  }
  for (const auto& t : transfers) {
    if (t->easy) curl_multi_remove_handle(multi.get(), t->easy.get());
  }
  transfers.clear();
  if (driven.ok()) give_back(std::move(multi));
  return driven;
}

}  // namespace kvsplice::store
