#include "serve/front.h"

#include <fmt/format.h>
#include <httplib.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <optional>
#include <set>
#include <sstream>

#include "serve/page.h"
#include "serve/passage.h"

namespace kvsplice::serve {

namespace {

constexpr size_t kThreads = 16, kMostThreads = 1024;  // a client that streams holds one
constexpr size_t kMostBody = size_t{256} << 20;       // bytes; llama-server takes 100 MB

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return text;
}

bool is_one_of(const std::string& name, std::initializer_list<const char*> names) {
  return std::find(names.begin(), names.end(), lower(name)) != names.end();
}

// Those that tell of one connection, not of the message.
bool is_of_connection(const std::string& name) {
  return is_one_of(name, {"connection", "keep-alive", "transfer-encoding", "content-length", "te",
                          "trailer", "upgrade", "proxy-connection", "expect"});
}

// Those that a client says to be of this connection.
std::set<std::string> named_by_connection(const httplib::Request& request) {
  std::set<std::string> names;
  for (size_t i = 0; i < request.get_header_value_count("Connection"); ++i) {
    std::string list = lower(request.get_header_value("Connection", "", i));
    std::replace(list.begin(), list.end(), ',', ' ');
    std::istringstream words(list);
    for (std::string word; words >> word;) names.insert(word);
  }
  return names;
}

// Some that httplib adds to what it reads, and the address by which the client found us.
bool is_ours(const std::string& name) {
  return is_one_of(name, {"host", "remote_addr", "remote_port", "local_addr", "local_port"});
}

// httplib takes forms apart, and their bytes are lost, unless it does not see that they are forms.
constexpr const char* kHiddenType = "X-KVSplice-Content-Type";

httplib::Server::HandlerResponse hide_form(const httplib::Request& request, httplib::Response&) {
  if (request.is_multipart_form_data()) {
    httplib::Headers& headers = const_cast<httplib::Request&>(request).headers;
    headers.emplace(kHiddenType, request.get_header_value("Content-Type"));
    headers.erase("Content-Type");
  }
  return httplib::Server::HandlerResponse::Unhandled;
}

OutgoingRequest forwarded(const httplib::Request& request) {
  OutgoingRequest out;
  out.method = request.method;
  out.target = request.target;
  out.body = request.body;
  const std::set<std::string> named = named_by_connection(request);
  for (const auto& [name, value] : request.headers) {
    if (is_of_connection(name) || is_ours(name) || named.contains(lower(name))) continue;
    out.headers.emplace_back(name == kHiddenType ? "Content-Type" : name, value);
  }
  return out;
}

void say(httplib::Response& response, int status, const std::string& message) {
  response.status = status;
  const Json body = {{"error", {{"code", status}, {"type", "kvsplice"}, {"message", message}}}};
  response.set_content(print_json(body), "application/json");
}

Headers headers_of(const httplib::Request& request) {
  return {request.headers.begin(), request.headers.end()};
}

void refuse(httplib::Response& response) { say(response, 401, "a key of llama-server is needed"); }

// Length and kind of the body are httplib's to say.
struct BodyKind {
  std::string type;
  std::optional<size_t> length;
};

BodyKind take_headers(const AnswerHead& head, httplib::Response& response) {
  BodyKind body;
  response.status = head.status;
  for (const auto& [name, value] : head.headers) {
    if (is_one_of(name, {"content-type"})) body.type = value;
    if (is_one_of(name, {"content-length"}))
      body.length = std::strtoull(value.c_str(), nullptr, 10);
    if (!is_of_connection(name) && !is_one_of(name, {"content-type"})) {
      response.set_header(name, value);
    }
  }
  return body;
}

bool pour(Service::Passage& passage, httplib::DataSink& sink, const std::atomic<bool>& ending) {
  return passage.pour([&](const char* bytes, size_t n) { return sink.write(bytes, n); },
                      [&] { return ending || !sink.is_writable(); });
}

}  // namespace

struct Front::Impl {
  Service& service;
  httplib::Server server;
  std::atomic<bool> ending = false;

  explicit Impl(Service& s) : service(s) {}
  void declare();
  void pass(const httplib::Request& request, httplib::Response& response);
};

void Front::Impl::pass(const httplib::Request& request, httplib::Response& response) {
  const auto gone = [&] { return ending || request.is_connection_closed(); };
  std::shared_ptr<Service::Passage> passage = service.begin(forwarded(request), request.path, gone);
  const auto head = passage->head(gone);
  if (!head.ok()) return say(response, 502, head.error().message);
  const BodyKind body = take_headers(*head, response);
  const bool has_none = head->status == 204 || head->status == 304;
  if (has_none || body.length == size_t{0}) {
    if (!body.type.empty()) response.set_header("Content-Type", body.type);
    return;
  }
  if (body.length) {
    response.set_content_provider(*body.length, body.type,
                                  [this, passage](size_t, size_t, httplib::DataSink& sink) {
                                    return pour(*passage, sink, ending);
                                  });
    return;
  }
  response.set_chunked_content_provider(body.type,
                                        [this, passage](size_t, httplib::DataSink& sink) {
                                          const bool is_whole = pour(*passage, sink, ending);
                                          if (is_whole) sink.done();
                                          return is_whole;
                                        });
}

void Front::Impl::declare() {
  using httplib::Request;
  using httplib::Response;
  server.new_task_queue = [] { return new httplib::ThreadPool(kThreads, kMostThreads); };
  // Without httplib's SO_REUSEPORT, with which two proxies would share a port and each other's
  // clients.
  server.set_socket_options(
      [](socket_t socket) { httplib::set_socket_opt(socket, SOL_SOCKET, SO_REUSEADDR, 1); });
  server.set_payload_max_length(kMostBody);
  server.set_keep_alive_max_count(1u << 20);
  server.set_read_timeout(std::chrono::seconds(60));
  server.set_write_timeout(std::chrono::seconds(60));
  server.set_tcp_nodelay(true);
  server.set_pre_routing_handler(hide_form);
  server.Get("/kvsplice/?", [](const Request&, Response& response) {
    response.set_content(kPage, "text/html; charset=utf-8");
  });
  server.Get("/kvsplice/status", [this](const Request& request, Response& response) {
    if (!service.admits(key_of(headers_of(request)))) return refuse(response);
    response.set_content(print_json(service.status(), 2), "application/json");
  });
  server.Get("/kvsplice/metrics", [this](const Request& request, Response& response) {
    if (!service.admits(key_of(headers_of(request)))) return refuse(response);
    response.set_content(service.metrics(), "text/plain; version=0.0.4");
  });
  // Whoever moved cells himself would put them before prompts of others, or under their names.
  server.Post("/slots/.*", [](const Request&, Response& response) {
    say(response, 403, "slots are filled and saved by kvsplice serve");
  });
  const auto through = [this](const Request& request, Response& response) {
    pass(request, response);
  };
  server.Get(".*", through);
  server.Post(".*", through);
  server.Put(".*", through);
  server.Patch(".*", through);
  server.Delete(".*", through);
  server.Options(".*", through);
}

Front::Front(Service& service) : impl_(std::make_unique<Impl>(service)) { impl_->declare(); }
Front::~Front() = default;

Result<int> Front::listen(const std::string& host, int port) {
  if (port == 0) {
    const int any = impl_->server.bind_to_any_port(host);
    if (any > 0) return any;
  } else if (impl_->server.bind_to_port(host, port)) {
    return port;
  }
  return Error{ErrorKind::io,
               fmt::format("cannot listen at {}:{}: {}", host, port, std::strerror(errno))};
}

void Front::run() { impl_->server.listen_after_bind(); }

void Front::stop() {
  impl_->ending = true;
  impl_->server.stop();
}

}  // namespace kvsplice::serve
