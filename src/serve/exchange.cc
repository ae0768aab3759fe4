#include "serve/exchange.h"

#include <fmt/format.h>
#include <httplib.h>

#include <algorithm>
#include <cctype>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

namespace kvsplice::serve {

namespace {

constexpr std::chrono::hours kPatience{24};  // a model may think for long
constexpr std::chrono::milliseconds kGlance{50};

std::string header_of(const Headers& headers, const std::string& wanted) {
  for (const auto& [name, value] : headers) {
    const bool same = std::equal(name.begin(), name.end(), wanted.begin(), wanted.end(),
                                 [](char a, char b) { return std::tolower(a) == std::tolower(b); });
    if (same) return value;
  }
  return {};
}

}  // namespace

std::string key_of(const Headers& headers) {
  constexpr std::string_view kBearer = "Bearer ";
  std::string key = header_of(headers, "Authorization");
  if (key.empty()) key = header_of(headers, "X-Api-Key");
  if (key.starts_with(kBearer)) key.erase(0, kBearer.size());
  return key;
}

struct Exchange::Impl {
  std::unique_ptr<httplib::Client> client;
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<AnswerHead> head;
  const Receiver* receiver = nullptr;  // the body waits for one
  bool over = false, cancelled = false;
  std::string failure;  // why it ended before its end
  std::thread reader;

  bool take_head(const httplib::Response& response);
  void keep_head(const httplib::Response& response);  // with the mutex held
  bool take_bytes(const char* data, size_t n);
  void finish(const httplib::Result& result);
};

bool Exchange::Impl::take_head(const httplib::Response& response) {
  const std::lock_guard lock(mutex);
  if (cancelled) return false;
  keep_head(response);
  return true;
}

void Exchange::Impl::keep_head(const httplib::Response& response) {
  head.emplace();
  head->status = response.status;
  for (const auto& [name, value] : response.headers) head->headers.emplace_back(name, value);
  changed.notify_all();
}

bool Exchange::Impl::take_bytes(const char* data, size_t n) {
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return cancelled || receiver; });
  return !cancelled && (*receiver)(data, n);
}

void Exchange::Impl::finish(const httplib::Result& result) {
  const std::lock_guard lock(mutex);
  over = true;
  if (!result) failure = httplib::to_string(result.error());
  // httplib does not say the head of an answer that cannot have a body.
  if (result && !head) keep_head(*result);
  changed.notify_all();
}

Exchange::Exchange(const Upstream& upstream, OutgoingRequest request)
    : impl_(std::make_unique<Impl>()) {
  Impl& it = *impl_;
  it.client = upstream.connect(kPatience);
  httplib::Request out;
  out.method = std::move(request.method);
  out.path = std::move(request.target);
  for (auto& [name, value] : request.headers) out.headers.emplace(name, std::move(value));
  out.body = std::move(request.body);
  out.response_handler = [&it](const httplib::Response& r) { return it.take_head(r); };
  out.content_receiver = [&it](const char* data, size_t n, size_t, size_t) {
    return it.take_bytes(data, n);
  };
  it.reader = std::thread([&it, out = std::move(out)] { it.finish(it.client->send(out)); });
}

Exchange::~Exchange() {
  cancel();
  impl_->reader.join();
}

void Exchange::cancel() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->cancelled = true;
    impl_->changed.notify_all();
    if (impl_->over) return;
  }
  impl_->client->stop();
}

Result<AnswerHead> Exchange::head(const std::function<bool()>& gone) {
  std::unique_lock lock(impl_->mutex);
  while (!impl_->head && !impl_->over) {
    impl_->changed.wait_for(lock, kGlance);
    if (impl_->head || impl_->over) break;
    lock.unlock();
    if (gone()) return Error{ErrorKind::usage, "the client has left"};
    lock.lock();
  }
  if (impl_->head) return *impl_->head;
  return Error{ErrorKind::io, fmt::format("llama-server does not answer: {}", impl_->failure)};
}

bool Exchange::pour(const Receiver& receiver, const std::function<bool()>& gone) {
  std::unique_lock lock(impl_->mutex);
  impl_->receiver = &receiver;
  impl_->changed.notify_all();
  while (!impl_->over) {
    impl_->changed.wait_for(lock, kGlance);
    if (impl_->over || !gone()) continue;
    lock.unlock();
    cancel();
    lock.lock();
    impl_->changed.wait(lock, [&] { return impl_->over; });
  }
  impl_->receiver = nullptr;
  return impl_->failure.empty();
}

}  // namespace kvsplice::serve
