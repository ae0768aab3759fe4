#include "serve/upstream.h"

#include <fmt/format.h>
#include <httplib.h>

#include <charconv>
#include <cmath>

namespace kvsplice::serve {

namespace {

using std::chrono::seconds;

constexpr seconds kSoon{10};   // for answers that need no evaluation
constexpr seconds kSlow{600};  // for what waits until the server is idle

Error not_there(const Address& address, httplib::Error why) {
  return {ErrorKind::io,
          fmt::format("llama-server at {}: {}", address.text(), httplib::to_string(why))};
}

// The server's own words, if it gives any.
std::string reason_of(const httplib::Response& answer) {
  const auto body = parse_json(answer.body);
  if (body && body->is_object() && body->contains("error")) {
    const Json& error = (*body)["error"];
    const std::string message = error.is_object() ? text_at(error, "message") : std::string();
    return message.empty() ? print_json(error) : message;
  }
  return fmt::format("status {}", answer.status);
}

Result<Json> answer_of(const httplib::Result& answer, const Address& address,
                       const std::string& path) {
  if (!answer) return not_there(address, answer.error());
  if (answer->status != 200) {
    return Error{ErrorKind::mismatch,
                 fmt::format("llama-server refuses {}: {}", path, reason_of(*answer))};
  }
  if (auto body = parse_json(answer->body)) return std::move(*body);
  return Error{ErrorKind::mismatch, fmt::format("llama-server answers {} without JSON", path)};
}

Result<std::vector<int32_t>> tokens_in(const Json& body) {
  const auto list = body.find("tokens");
  if (list == body.end() || !list->is_array()) {
    return Error{ErrorKind::mismatch, "llama-server answers without tokens"};
  }
  std::vector<int32_t> tokens;
  for (const Json& token : *list) {
    if (!token.is_number_integer()) {
      return Error{ErrorKind::mismatch, "llama-server answers with tokens that are no numbers"};
    }
    tokens.push_back(token.get<int32_t>());
  }
  return tokens;
}

std::string slot_path(int slot, const char* action) {
  return fmt::format("/slots/{}?action={}", slot, action);
}

}  // namespace

Result<Address> Address::parse(const std::string& url) {
  std::string rest = url;
  if (rest.starts_with("http://")) rest = rest.substr(7);
  while (rest.ends_with('/')) rest.pop_back();
  Address address;
  const size_t colon = rest.rfind(':');
  const bool has_port = colon != rest.npos && rest.find(']', colon) == rest.npos;
  address.host = rest.substr(0, colon);
  const std::string port = has_port ? rest.substr(colon + 1) : "80";
  const auto [end, failed] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (failed != std::errc() || end != port.data() + port.size() || address.host.empty() ||
      address.port < 1 || address.port > 65535 || rest.find('/') != rest.npos) {
    return Error{ErrorKind::usage, fmt::format("'{}'; legal: http://HOST:PORT", url)};
  }
  if (address.host.starts_with('[') && address.host.ends_with(']')) {
    address.host = address.host.substr(1, address.host.size() - 2);
  }
  return address;
}

std::string Address::text() const {
  return socket.empty() ? fmt::format("{}:{}", host, port) : socket;
}

Upstream::Upstream(Address address, std::string api_key)
    : address_(std::move(address)), api_key_(std::move(api_key)) {}

std::unique_ptr<httplib::Client> Upstream::connect(Seconds patience) const {
  const bool local = !address_.socket.empty();
  auto client = local ? std::make_unique<httplib::Client>(address_.socket, 80)
                      : std::make_unique<httplib::Client>(address_.host, address_.port);
  if (local) client->set_address_family(AF_UNIX);
  client->set_connection_timeout(seconds(5));
  client->set_read_timeout(patience);
  client->set_write_timeout(patience);
  client->set_path_encode(false);
  client->set_decompress(false);
  client->set_tcp_nodelay(true);
  return client;
}

Result<Json> Upstream::get(const std::string& path, Seconds patience) const {
  const auto client = connect(patience);
  if (!api_key_.empty()) client->set_bearer_token_auth(api_key_);
  return answer_of(client->Get(path), address_, path);
}

Result<Json> Upstream::post(const std::string& path, const Json& body, Seconds patience) const {
  const auto client = connect(patience);
  if (!api_key_.empty()) client->set_bearer_token_auth(api_key_);
  return answer_of(client->Post(path, print_json(body), "application/json"), address_, path);
}

Result<> Upstream::ready() const {
  KVS_TRY(get("/health", kSoon));
  return {};
}

bool Upstream::takes_key(const std::string& key) const {
  const auto client = connect(kSoon);
  if (!key.empty()) client->set_bearer_token_auth(key);
  const auto answer = client->Get("/props");
  return answer && answer->status == 200;
}

Result<ServerFacts> Upstream::facts() const {
  KVS_ASSIGN(const Json props, get("/props", kSoon));
  ServerFacts facts;
  facts.slots = static_cast<int>(count_at(props, "total_slots"));
  facts.model_path = text_at(props, "model_path");
  facts.build = text_at(props, "build_info");
  facts.is_asleep = flag_at(props, "is_sleeping");
  if (const auto settings = props.find("default_generation_settings"); settings != props.end()) {
    facts.context = count_at(*settings, "n_ctx");
  }
  return facts;
}

Result<std::vector<int32_t>> Upstream::tokens_of(const Json& text) const {
  const Json body = {{"content", text}, {"add_special", true}, {"parse_special", true}};
  KVS_ASSIGN(const Json answer, post("/tokenize", body, kSoon));
  return tokens_in(answer);
}

Result<std::string> Upstream::prompt_of(const Json& chat) const {
  KVS_ASSIGN(const Json answer, post("/apply-template", chat, kSoon));
  const auto prompt = answer.find("prompt");
  if (prompt != answer.end() && prompt->is_string()) return prompt->get<std::string>();
  return Error{ErrorKind::mismatch, "llama-server answers /apply-template without a prompt"};
}

Result<Upstream::Moved> Upstream::save(int slot, const std::string& file) const {
  KVS_ASSIGN(const Json answer, post(slot_path(slot, "save"), {{"filename", file}}, kSlow));
  Moved moved{count_at(answer, "n_saved"), count_at(answer, "n_written"), 0};
  if (answer.contains("timings")) {
    moved.seconds = number_at(answer["timings"], "save_ms").value_or(0) / 1e3;
  }
  return moved;
}

Result<Upstream::Moved> Upstream::restore(int slot, const std::string& file) const {
  KVS_ASSIGN(const Json answer, post(slot_path(slot, "restore"), {{"filename", file}}, kSlow));
  Moved moved{count_at(answer, "n_restored"), count_at(answer, "n_read"), 0};
  if (answer.contains("timings")) {
    moved.seconds = number_at(answer["timings"], "restore_ms").value_or(0) / 1e3;
  }
  return moved;
}

Result<> Upstream::erase(int slot) const {
  KVS_TRY(post(slot_path(slot, "erase"), Json::object(), kSlow));
  return {};
}

Result<Upstream::Completion> Upstream::complete(int slot, std::span<const int32_t> prompt,
                                                int n) const {
  const Json body = {{"prompt", std::vector<int32_t>(prompt.begin(), prompt.end())},
                     {"n_predict", n},
                     {"temperature", 0},
                     {"ignore_eos", true},
                     {"id_slot", slot},
                     {"cache_prompt", true},
                     {"return_tokens", true}};
  KVS_ASSIGN(const Json answer, post("/completion", body, kSlow));
  Completion completion;
  KVS_ASSIGN(completion.tokens, tokens_in(answer));
  if (answer.contains("timings")) completion.cached = count_at(answer["timings"], "cache_n");
  return completion;
}

Result<Upstream::Likely> Upstream::likely(int slot, std::span<const int32_t> prompt) const {
  constexpr int kMost = 256;
  const Json body = {{"prompt", std::vector<int32_t>(prompt.begin(), prompt.end())},
                     {"n_predict", 1},
                     {"temperature", 0},
                     {"id_slot", slot},
                     {"cache_prompt", true},
                     {"n_probs", kMost}};
  KVS_ASSIGN(const Json answer, post("/completion", body, kSlow));
  const Json::json_pointer path("/completion_probabilities/0/top_logprobs");
  const Json list = answer.contains(path) ? answer.at(path) : Json();
  Likely likely;
  for (const Json& one : list) {
    const auto token = number_at(one, "id"), log = number_at(one, "logprob");
    if (token && log) likely.emplace_back(static_cast<int32_t>(*token), std::exp(*log));
  }
  if (!likely.empty()) return likely;
  return Error{ErrorKind::mismatch, "llama-server answers without probabilities"};
}

}  // namespace kvsplice::serve
