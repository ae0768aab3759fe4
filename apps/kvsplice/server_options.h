// Options of llama-server as its users type them: many may stand among those of `kvsplice serve`,
// all others behind --.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "kvsplice/result.h"

namespace kvsplice::app {

// What is given is added to `arguments`, for llama-server.
void add_server_options(CLI::App& app, std::vector<std::string>& arguments);

// Error usage for what is ours to set, and for what slots cannot be kept under: says what to do
// instead. `environment`: llama-server takes variables for options.
Result<> check_server_options(const std::vector<std::string>& arguments,
                              const std::vector<std::string>& environment);

// A key that the server takes; empty if it wants none. Error io: of its file of keys.
Result<std::string> server_key(const std::vector<std::string>& arguments,
                               const std::vector<std::string>& environment);

// Seconds after which it sleeps, and forgets its slots.
std::optional<double> sleeps_after(const std::vector<std::string>& arguments);

}  // namespace kvsplice::app
