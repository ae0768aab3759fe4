// Settings of the study.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "calibrate/calibrate.h"
#include "core/params.h"
#include "experiments/lists.h"

namespace kvsplice::experiment::storage {

const std::vector<std::string>& part_names();
const std::vector<std::string>& method_names();

struct Options {
  std::string text = "samples/fiction.txt,samples/technical.txt,samples/code.txt";
  std::string test_text = "samples/news.txt";
  std::string codec = calibrate::kDefaultPipeline;
  std::string factors = "0.2,0.4,0.75,1.2,1.7";
  std::string other_factors = "0.4,0.75,1.2";
  std::string parts = "all", methods = "all";
  std::string live;
  int calibration = 65536, sequence = 1024, sinks = 4;
  std::vector<int> ctx = {1024};
  int tokens = 2048;
  std::vector<int> retrieval_tokens = {1024, 4096};
  int retrieval_questions = 12, retrieval_prompts = 1;
  int greedy_prompts = 8, greedy_prefix = 512, greedy_tokens = 128;
  std::optional<std::string> work;
  int threads = 0;

  template <class V>
  void visit(V&& v) {
    v("text", text, "texts to calibrate on", FreeText{"files, by commas"});
    v("test_text", test_text, "texts to test on", FreeText{"files, by commas"});
    v("codec", codec, "pipeline under study, with layers and step", FreeText{"a pipeline"});
    v("live", live, "codecs of live caches that prompts are restored in, too",
      FreeText{"files, by commas"});
    v("factors", factors, "of the codec's steps, one fit each; none: without it",
      FreeText{"numbers, by commas, or none"});
    v("other_factors", other_factors, "of the steps of what it is compared with",
      FreeText{"numbers, by commas"});
    v("parts", parts, "what is done", FreeText{some_of(part_names())});
    v("methods", methods, "what rates compare the codec with", FreeText{some_of(method_names())});
    v("calibration", calibration, "tokens of all texts together, at most", Range{64, 1 << 30});
    v("sequence", sequence, "tokens evaluated as one sequence to calibrate", Range{16, 1 << 20});
    v("sinks", sinks, "first tokens, kept exact", Range{0, 1024});
    v("ctx", ctx, "tokens of a chunk in the loop", Range{64, 1 << 20});
    v("tokens", tokens, "of a test text in the loop: whole chunks, at least one",
      Range{64, 1 << 30});
    v("retrieval_tokens", retrieval_tokens, "of prompts of keys and values", Range{64, 1 << 20});
    v("retrieval_questions", retrieval_questions, "per prompt", Range{1, 1024});
    v("retrieval_prompts", retrieval_prompts, "of each length", Range{1, 1024});
    v("greedy_prompts", greedy_prompts, "of every test text", Range{1, 1024});
    v("greedy_prefix", greedy_prefix, "tokens of such a prompt", Range{16, 1 << 20});
    v("greedy_tokens", greedy_tokens, "decoded behind it", Range{1, 1 << 16});
    v("work", work,
      "folder for evaluated texts, which calibrate --work can share (in the "
      "results if not given)",
      FreeText{"a folder"});
    v("threads", threads, "at most (0: all)", Range{0, 4096});
  }

  bool wants(const std::string& part) const;
  bool compares(const std::string& method) const;
};

Options quick(Options options);          // the same with less to do
Result<> check(const Options& options);  // what parsing cannot say

// Numbers of a list that check() has passed.
std::vector<double> numbers(const std::string& list);

}  // namespace kvsplice::experiment::storage
