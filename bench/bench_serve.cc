// The first token of a conversation's next turn after everything was killed: behind `kvsplice
// serve`, llama-server alone, and hearth-llm if it is there.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "bench/bench.h"

namespace kvsplice::bench {

namespace {

constexpr int kTokens[] = {1024, 4096};

Result<std::vector<Measurement>> run(Surroundings& here) {
  const Places& at = here.places();
  if (at.model.empty() || at.server.empty() || at.text.empty()) {
    here.note("serve is left out: it needs a model (-m), --server and --text");
    return std::vector<Measurement>{};
  }
  std::error_code failed;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe", failed).string();
  std::vector<Measurement> all;
  for (const int tokens : kTokens) {
    auto peers = here.peers("serve", {"first", "--bench", "--kvsplice", self, "--server", at.server,
                                      "-m", at.model, "--codec", at.codec, "--hearth", at.hearth,
                                      "--text", at.text, "--tokens", std::to_string(tokens)});
    const auto take = [&](const std::string& name) {
      const auto found = std::find_if(peers.begin(), peers.end(), [&](const Peer& peer) {
        return peer.name == fmt::format("{}, {}", name, tokens);
      });
      const double ms = found == peers.end() ? 0 : found->ms;
      if (found != peers.end()) peers.erase(found);
      return ms;
    };
    // Cells that need no decoding: nothing restores faster through the same server.
    const double raw = take("slot file of its own"), ours = take("kvsplice serve");
    if (ours > 0) all.push_back({fmt::format("{} tokens", tokens), ours, raw, peers});
  }
  return all;
}

}  // namespace

BenchCase serve_bench() {
  return {"serve", "the first token of a chat's next turn after everything was killed", run};
}

}  // namespace kvsplice::bench
