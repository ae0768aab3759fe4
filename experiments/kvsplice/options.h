// Settings of the study.
#pragma once

#include <string>
#include <vector>

#include "core/params.h"

namespace kvsplice::experiment {

struct StudyOptions {
  std::vector<int> k = {8, 12, 16, 24, 32, 48, 64};
  int spline_epochs = 20;
  int flow_epochs = 12;
  int rank = 16;
  int seeds = 5;
  int data_seed = 13;
  std::string regulariser = "reference";
  std::string text = "samples/fiction.txt,samples/technical.txt";
  std::string test_text = "samples/news.txt";
  int tokens = 2048;
  std::vector<int> layers;
  int loop_ctx = 512;
  int loop_chunks = 2;
  int loop_flow_epochs = 4;

  template <class V>
  void visit(V&& v) {
    v("k", k, "ranks of the PCA at the test", Range{1, 128});
    v("spline_epochs", spline_epochs, "passes over the rows for the spline", Range{0, 1000});
    v("flow_epochs", flow_epochs, "passes over the rows for the flow", Range{0, 1000});
    v("rank", rank, "components the warps are trained through", Range{1, 128});
    v("seeds", seeds, "trainings of each warp, with seeds 0, 1, ...", Range{1, 1000});
    v("data_seed", data_seed, "of GeometricMix; the seed's is 13", Range{0, 1e9});
    v("regulariser", regulariser, "of the flow: as the seed has it, without gradient, or working",
      Choice{"reference", "working"});
    v("text", text, "texts whose caches the codecs are fitted to", FreeText{"files, by commas"});
    v("test_text", test_text, "text whose cache is coded", FreeText{"a file"});
    v("tokens", tokens, "of each text", Range{64, 1 << 20});
    v("layers", layers, "of the model, for tensors; if not given, a quarter and three quarters up",
      Range{0, 1 << 16});
    v("loop_ctx", loop_ctx, "tokens of a chunk in the loop", Range{8, 1 << 20});
    v("loop_chunks", loop_chunks, "chunks in the loop; 0: leave the loop out", Range{0, 1000});
    v("loop_flow_epochs", loop_flow_epochs, "of the flows in the loop, two for every layer",
      Range{0, 1000});
  }
};

}  // namespace kvsplice::experiment
