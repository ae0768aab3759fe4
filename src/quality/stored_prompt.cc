#include "quality/stored_prompt.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/same_cache.h"
#include "host/cache_block.h"

namespace kvsplice::quality {

namespace {

constexpr int kStep = 512;

}  // namespace

Result<StoredPrompt> StoredPrompt::evaluate(const host::Model& model,
                                            std::vector<host::Token> tokens,
                                            const PromptOptions& options) {
  if (tokens.empty()) return Error{ErrorKind::usage, "a prompt of 0 tokens; at least 1 is needed"};
  StoredPrompt prompt;
  prompt.model_ = &model;
  prompt.options_ = options;
  prompt.tokens_ = std::move(tokens);
  host::ContextOptions context;
  context.n_ctx = static_cast<int>(prompt.size() + options.room);
  context.n_ubatch = std::min(kStep, context.n_ctx);
  context.threads = options.threads;
  context.cache = options.cache;
  context.live = options.live;
  context.live_options = options.live_options;
  KVS_ASSIGN(prompt.context_, host::Context::create(model, context));
  KVS_TRY(prompt.context_->decode(prompt.tokens_));
  if (model.shape().hybrid()) {
    KVS_ASSIGN(prompt.state_, prompt.context_->recurrent_state());
  }
  if (options.live) {
    prompt.layers_ = prompt.context_->live_layers();
  } else if (options.cache == host::CacheType::f16) {
    KVS_TRY(prompt.keep_rows());
  }
  return prompt;
}

// All rows as the cache has them: halves, which floats hold exactly.
Result<> StoredPrompt::keep_rows() {
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < model_->shape().layers.size(); ++l) {
      Matrix<float> rows(size(), size_t(model_->shape().layers[l].width(kind)));
      KVS_TRY(context_->read_cache(kind, int(l), 0, rows));
      rows_.push_back(std::move(rows));
    }
  }
  return {};
}

Result<> StoredPrompt::put_rows_back() {
  auto rows = rows_.begin();
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; rows != rows_.end() && l < model_->shape().layers.size(); ++l) {
      KVS_TRY(context_->write_cache(kind, int(l), 0, *rows++));
    }
  }
  return {};
}

Result<> StoredPrompt::rewind() {
  if (options_.live) return context_->set_live_layers(layers_);
  return state_ ? context_->go_back(*state_) : context_->truncate(size());
}

Result<size_t> StoredPrompt::restore(const codec::Codec* codec) {
  KVS_TRY(rewind());
  KVS_TRY(put_rows_back());
  if (codec == nullptr) return size_t(0);
  KVS_TRY(
      same_cache("the codec was fitted for", codec->shape(), "the model at hand", model_->shape()));
  const codec::Embeddings embeddings = host::embeddings_of(*model_);
  const size_t block = codec->whole_block() ? size() : codec->block_tokens();
  size_t encoded = 0;
  for (size_t at = options_.sinks; at < size(); at += block) {
    const size_t n = std::min(block, size() - at);
    KVS_ASSIGN(const auto rows, host::read_block(*context_, model_->shape(), tokens_, at, n));
    KVS_ASSIGN(const Bytes bytes, codec->encode(rows, &embeddings));
    encoded += bytes.size();
    KVS_ASSIGN(auto made, codec->decode(bytes, rows.tokens, rows.positions, &embeddings));
    KVS_TRY(host::write_block(*context_, model_->shape(), std::move(made)));
  }
  return encoded;
}

}  // namespace kvsplice::quality
