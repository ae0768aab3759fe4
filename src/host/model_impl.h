// What a Model holds; shared by the files that implement it and by Context.
#pragma once

#include <llama.h>

#include "host/gguf_source.h"
#include "host/graph_survey.h"
#include "host/model.h"
#include "host/text_cuts.h"

namespace kvsplice::host {

struct FreeLlama {
  void operator()(llama_model* m) const { llama_model_free(m); }
  void operator()(llama_context* c) const { llama_free(c); }
};
using LlamaModel = std::unique_ptr<llama_model, FreeLlama>;
using LlamaContext = std::unique_ptr<llama_context, FreeLlama>;

// What Context needs to know of a layer besides its LayerShape.
struct LayerHooks {
  NodeName before_rope;  // no name: keys before rotation come from un-rotating the stored ones
  float query_gain = 1;  // makes queries of models that scale them beforehand comparable
};

struct Model::Impl {
  std::string path;
  ModelOptions options;
  std::vector<GgufSource> files;  // more than one if the model is split
  LlamaModel model;
  const llama_vocab* vocabulary = nullptr;
  ModelShape shape;
  std::vector<LayerHooks> hooks;  // like shape.layers
  std::vector<Scoring> scoring;   // likewise
  TextCuts cuts;

  Result<std::vector<Token>> tokenize_in_pieces(std::string_view text, bool markers,
                                                size_t most) const;
};

// Parameters all contexts of a model share: silent, hook installed, one size of batches, flash
// attention.
llama_context_params context_params(const ModelOptions& options, NodeHook& hook, int n_ctx,
                                    int n_ubatch);

// Fills cuts.
void learn_vocabulary(Model::Impl& model);

// Fills shape.layers, shape.query_heads and hooks.
Result<> discover_layers(Model::Impl& model);

}  // namespace kvsplice::host
