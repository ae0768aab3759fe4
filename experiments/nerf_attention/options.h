// Settings of the study.
#pragma once

#include <string>
#include <vector>

#include "core/params.h"
#include "experiments/lists.h"
#include "functions/siren.h"

namespace kvsplice::experiment::nerf {

struct Options {
  std::string text =
      "samples/fiction.txt,samples/code.txt,samples/conversation.txt,samples/technical.txt";
  std::string synthetic = "no";
  int tokens = 2048;
  std::string layers = "seed", heads = "seed", configs = "all", parts = "all";
  std::string trainer = "adam";
  std::optional<int> epochs;
  double stop = 0;
  int seeds = 1;
  int loop_ctx = 1024, loop_chunks = 1;
  int threads = 0;

  template <class V>
  void visit(V&& v) {
    v("text", text, "texts: the first for the sweep, the second for the loop, all to compare kinds",
      FreeText{"files, separated by commas"});
    v("synthetic", synthetic, "use generated keys and values even if a model is given",
      Choice{"no", "yes"});
    v("tokens", tokens, "of each text", Range{64, 1 << 20});
    v("layers", layers, "of the sweep: 0, L/2 and L-1, those and L/4 and 3L/4, or all",
      Choice{"few", "seed", "all"});
    v("heads", heads, "of the sweep: the first, up to four, or all",
      Choice{"first", "seed", "all"});
    v("configs", configs, "networks of the sweep, medium among them",
      FreeText{"all or names, separated by commas"});
    v("parts", parts, "what is done",
      FreeText{"all or sweep,profile,scaling,longer,kinds,loop,"
               "latency, separated by commas"});
    v("trainer", trainer, "the recipe's Adam, or variable projection", Choice{"adam", "varpro"});
    v("epochs", epochs, "of every fit (2000 with adam, 20 with varpro)", Range{1, 1e6});
    v("stop", stop, "stop a fit when a tenth of the epochs gains less than this share",
      Range{0, 1});
    v("seeds", seeds, "fits of each network of the sweep, with seeds 0, 1, ...", Range{1, 1000});
    v("loop_ctx", loop_ctx, "tokens of a chunk of text judged in the loop", Range{64, 1 << 20});
    v("loop_chunks", loop_chunks, "chunks judged in the loop", Range{1, 1 << 20});
    v("threads", threads, "at most (0: all)", Range{0, 4096});
  }

  std::vector<std::string> networks() const;
  bool wants(const std::string& part) const;
  functions::SirenOptions siren(uint64_t seed) const;
};

Options quick(Options options);          // the same with less to do
Result<> check(const Options& options);  // what parsing cannot say

}  // namespace kvsplice::experiment::nerf
