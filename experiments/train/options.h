// Settings of the study.
#pragma once

#include <string>
#include <vector>

#include "core/params.h"
#include "experiments/lists.h"

namespace kvsplice::experiment::train {

struct Options {
  std::string text = "samples/fiction.txt,samples/technical.txt,samples/code.txt";
  std::string test_text = "samples/news.txt";
  std::string recipe = "llama", all = "no", variants = "recipe";
  int vocabulary = 4096, width = 256, layers = 4, heads = 4, hidden = 704, length = 256;
  int steps = 1200, batch = 4, seeds = 3;
  double rate = 4e-3;
  double noise = 0.3, price = 2e-5;
  std::string deltas = "0.2,0.4,0.8,1.6,3.2,6.4";
  int calibration = 16384, test_tokens = 32768;
  int loop_seeds = 1, loop_calibration = 32768;
  int threads = 0;

  template <class V>
  void visit(V&& v) {
    v("text", text, "texts to train on", FreeText{"files, by commas"});
    v("test_text", test_text, "texts to judge on, none of which was trained on",
      FreeText{"files, by commas"});
    v("recipe", recipe, "which caches are compared: those of this study, or the seed's layers",
      Choice{"llama", "seed"});
    v("all", all, "every cache there is", Choice{"no", "yes"});
    v("variants", variants, "caches, instead of a recipe's; full is always among them",
      FreeText{"names, by commas"});
    v("vocabulary", vocabulary, "tokens: the first of the model's", Range{256, 1 << 20});
    v("width", width, "of the stream between layers", Range{32, 4096});
    v("layers", layers, "of the models", Range{1, 64});
    v("heads", heads, "of attention, of width / heads numbers", Range{1, 64});
    v("hidden", hidden, "numbers inside a feed-forward part", Range{8, 1 << 14});
    v("length", length, "tokens of a sequence", Range{16, 4096});
    v("steps", steps, "of training", Range{2, 1e6});
    v("batch", batch, "sequences of a step", Range{1, 4096});
    v("seeds", seeds, "trainings of each cache, with seeds 0, 1, ...", Range{1, 100});
    v("rate", rate, "of learning, the largest", Range{1e-6, 1});
    v("noise", noise, "of the variant rate: the quantiser's step whose noise is trained with",
      Range{1e-3, 100});
    v("price", price, "of the variant rate: nats a bit of a token costs", Range{0, 1});
    v("deltas", deltas, "steps of klt | step | range", FreeText{"numbers, by commas"});
    v("calibration", calibration, "tokens of the texts that codecs are fitted on",
      Range{256, 1 << 24});
    v("test_tokens", test_tokens, "of each test text, at most", Range{256, 1 << 24});
    v("loop_seeds", loop_seeds, "seeds whose models go through llama.cpp and the default codec",
      Range{0, 100});
    v("loop_calibration", loop_calibration, "tokens that the default codec is fitted on",
      Range{256, 1 << 24});
    v("threads", threads, "at most (0: all)", Range{0, 4096});
  }

  std::vector<double> steps_of_codecs() const;  // of `deltas`, which check() has passed
};

Options quick(Options options);          // the same with less to do
Result<> check(const Options& options);  // what parsing cannot say

}  // namespace kvsplice::experiment::train
