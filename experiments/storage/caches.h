// What is compared: llama.cpp's cache types, the codec and its ablations, the seeds' methods.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "codec/codec.h"
#include "experiments/experiment.h"
#include "experiments/storage/options.h"
#include "quality/quality.h"

namespace kvsplice::experiment::storage {

struct Cache {
  std::string method;
  double factor = 0;                                     // of the steps; 0 where there is none
  std::optional<host::CacheType> type;                   // llama.cpp's, or
  std::optional<codec::CodecText> text;                  // a codec's; neither: the noise floor
  bool learns = false;                                   // from calibration rows
  std::shared_ptr<const live::LiveForm> live = nullptr;  // instead of all these

  std::string name() const;
};

constexpr const char* kCodec = "codec";  // the method under study

// For the loop; and for restored prompts, where only the codec, a plain KLT and live caches are
// looked at.
Result<std::vector<Cache>> loop_caches(const Options& options, const ModelShape& shape);
Result<std::vector<Cache>> prompt_caches(const Options& options);
Result<codec::CodecText> codec_text(const Options& options);

// What all parts share.
struct Ground {
  const host::Model& model;
  const Options& options;
  std::filesystem::path dir;
  std::string calibrated;  // identifies model and calibration in journals
  sweep::Team team;
  Progress progress;

  std::vector<std::string> texts() const { return split(options.text); }
  std::string work() const { return options.work.value_or((dir / "rows").string()); }
};
Result<Ground> open_ground(const host::Model& model, const Options& options,
                           const Setting& setting);

// A codec that is fitted once and kept in DIR/codecs; `what` identifies it.
struct Fit {
  std::string what;
  std::function<Result<codec::Codec>()> fit;
};
std::optional<Fit> fit_of(const Ground& ground, const Cache& cache);  // if it learns
Result<> make_fits(const Ground& ground, const std::vector<Fit>& fits);
Result<std::unique_ptr<codec::Codec>> fitted(const Ground& ground, const Fit& fit);

// The codec of a cache, none for llama.cpp's types.
Result<std::unique_ptr<codec::Codec>> codec_of(const Ground& ground, const Cache& cache);

struct TestText {
  std::string name, hash;
  std::vector<host::Token> tokens;
};
Result<std::vector<TestText>> read_tests(const Ground& ground);

}  // namespace kvsplice::experiment::storage
