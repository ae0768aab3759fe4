#include "host/devices.h"

#include <fmt/format.h>
#include <ggml-backend.h>
#include <llama.h>

#include <mutex>
#include <set>

#include "host/log.h"

namespace kvsplice::host {

namespace {

using AddServer = ggml_backend_reg_t (*)(const char*);

Result<> add_server(const std::string& server) {
  static std::mutex adding;
  static std::set<std::string> added;
  const std::lock_guard lock(adding);
  if (added.contains(server)) return {};
  ggml_backend_reg_t rpc = ggml_backend_reg_by_name("RPC");
  const auto add = rpc == nullptr ? nullptr
                                  : reinterpret_cast<AddServer>(ggml_backend_reg_get_proc_address(
                                        rpc, "ggml_backend_rpc_add_server"));
  if (add == nullptr) {
    return Error{ErrorKind::usage,
                 "this llama.cpp was built without GGML_RPC: it knows no servers"};
  }
  listen_to_log();
  ggml_backend_reg_t devices = add(server.c_str());
  if (devices == nullptr) {
    return Error{ErrorKind::usage, fmt::format("no device at '{}' (HOST:PORT of an rpc-server): {}",
                                               server, first_log_error("it does not answer"))};
  }
  ggml_backend_register(devices);
  added.insert(server);
  return {};
}

}  // namespace

Result<> find_devices(const ModelOptions& options) {
  for (const std::string& server : options.servers) KVS_TRY(add_server(server));
  if (!options.on_devices() || llama_supports_gpu_offload()) return {};
  return Error{ErrorKind::usage, fmt::format("{} layers on a device: this llama.cpp knows none but "
                                             "the processor (docs/build.md)",
                                             options.gpu_layers)};
}

}  // namespace kvsplice::host
