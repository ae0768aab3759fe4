// The caches under study: keys as stored, keys before rotary embedding and values of one or more
// texts, from a model or generated. Dumps are kept in the results directory and used again.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>

#include "experiments/experiment.h"
#include "experiments/nerf_attention/options.h"
#include "extract/dump.h"
#include "host/model.h"

namespace kvsplice::experiment::nerf {

using host::Signal;

class Data {
 public:
  explicit Data(extract::Dump dump) : dump_(std::move(dump)) {}

  const extract::DumpInfo& info() const { return dump_.info(); }
  const extract::Dump& dump() const { return dump_; }
  size_t tokens() const { return info().texts[0].tokens; }  // of every text
  size_t dim(Signal signal, int layer) const;

  // The first n tokens of a text, one head: [n x dim]. May be called from several threads.
  Result<Matrix<float>> head(Signal signal, int layer, int head, size_t n, size_t text = 0) const;

 private:
  extract::Dump dump_;
  mutable std::mutex reading_;
};

// Which parts of the cache the study looks at.
struct Places {
  std::vector<int> sweep_layers, few_layers;  // {0, L/4, L/2, 3L/4, L-1} and {0, L/2, L-1}
  std::vector<int> all_layers;
  std::vector<int> heads;
};
Places places(const ModelShape& shape, const Options& options);

// What the parts to be done read: one text at all layers, all texts at a few layers, one long text
// at a few.
struct Sources {
  Places places;
  std::shared_ptr<Data> main, kinds, longest;
  std::shared_ptr<host::Model> model;  // none for generated data
  std::vector<std::string> texts;      // files
  bool synthetic = false;
};

// The processes of a team take turns: the first makes the dumps.
Result<Sources> open_sources(const Options& options, const Setting& setting);

}  // namespace kvsplice::experiment::nerf
