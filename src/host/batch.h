// llama_batch with an owner.
#pragma once

#include <llama.h>

#include <memory>
#include <span>

namespace kvsplice::host {

class Batch {
 public:
  explicit Batch(size_t capacity)
      : batch_(new llama_batch(llama_batch_init(static_cast<int32_t>(capacity), 0, 1))) {}

  // `tokens` (at most the capacity) at positions first ... of a sequence; logits of the last
  // `outputs` of them.
  void fill(std::span<const llama_token> tokens, size_t first, size_t outputs, int sequence = 0) {
    batch_->n_tokens = static_cast<int32_t>(tokens.size());
    for (size_t i = 0; i < tokens.size(); ++i) {
      batch_->token[i] = tokens[i];
      batch_->pos[i] = static_cast<llama_pos>(first + i);
      batch_->n_seq_id[i] = 1;
      batch_->seq_id[i][0] = sequence;
      batch_->logits[i] = i + outputs >= tokens.size();
    }
  }

  const llama_batch& get() const { return *batch_; }

 private:
  struct Free {
    void operator()(llama_batch* b) const {
      llama_batch_free(*b);
      delete b;
    }
  };
  std::unique_ptr<llama_batch, Free> batch_;
};

}  // namespace kvsplice::host
