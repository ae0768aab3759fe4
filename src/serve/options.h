// What `kvsplice serve` is told.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "store/store.h"

namespace kvsplice::serve {

enum class SaveWhen { idle, always };

struct Options {
  std::string model;  // GGUF
  std::string codec;  // empty: cells are kept without loss
  std::string store;  // folder
  store::Limits limits;
  std::string remote;              // URL of what stands behind the store; empty: nothing
  std::string host = "127.0.0.1";  // to listen at
  int port = 8080;

  // Either a llama-server that is started ...
  std::string program;                 // its path, or a name to look for
  std::vector<std::string> arguments;  // more of it
  // ... or one that runs, whose --slot-save-path is this folder.
  std::string upstream, slots_folder;
  std::string api_key;  // of that server

  uint64_t hot_bytes = 0;  // of slot files that are kept as they are, too

  SaveWhen save = SaveWhen::idle;
  double save_after = 5;       // seconds that a slot is idle before it is saved
  size_t fewest_tokens = 256;  // of a prompt that is worth keeping

  // Without a codec one is learnt once so many tokens are stored; 0: never.
  size_t learn_after = 16384;
  std::optional<double> most_kld;  // of a codec that is learnt; none: what q4_0 costs
};

}  // namespace kvsplice::serve
