// A prompt whose cache is what a stored session brings back: evaluated once, then its rows behind
// the sinks go through a codec as real bytes, in blocks as sessions have them. What follows attends
// to the decoded rows only. A hybrid's recurrent state is the one that was evaluated, as in a
// session. A live cache comes back as it stood behind the prompt.
#pragma once

#include <optional>
#include <vector>

#include "codec/codec.h"
#include "host/model.h"

namespace kvsplice::quality {

struct PromptOptions {
  size_t room = 256;  // tokens that may follow
  size_t sinks = 4;
  int threads = 0;
  host::CacheType cache = host::CacheType::f16;  // codecs need f16
  std::shared_ptr<const live::LiveForm> live;    // instead
  live::LiveOptions live_options;
};

class StoredPrompt {
 public:
  // `model` must outlive the result.
  static Result<StoredPrompt> evaluate(const host::Model& model, std::vector<host::Token> tokens,
                                       const PromptOptions& options);

  // Drops what followed and puts the cache back: as it was evaluated, or through the codec. Returns
  // the bytes of the encoded blocks, 0 without a codec.
  Result<size_t> restore(const codec::Codec* codec);
  // Drops what followed.
  Result<> rewind();

  host::Context& context() { return *context_; }
  size_t size() const { return tokens_.size(); }

 private:
  Result<> keep_rows();
  Result<> put_rows_back();

  const host::Model* model_ = nullptr;
  std::vector<host::Token> tokens_;
  PromptOptions options_;
  std::optional<host::Context> context_;
  std::optional<session::RecurrentState> state_;  // of hybrids, as it was evaluated
  std::vector<live::LayerCache> layers_;          // of a live cache
  std::vector<Matrix<float>> rows_;  // keys, then values, layer by layer; none but of f16
};

}  // namespace kvsplice::quality
