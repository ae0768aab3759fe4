// What a caller lends to the library: threads, memory, ears, embeddings, bytes.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "codec/codec.h"
#include "core/byte_source.h"
#include "core/limits.h"
#include "core/progress.h"
#include "core/threads.h"
#include "kvsplice/kvsplice.h"

namespace kvsplice::api {

// Copies of a caller's kvs_options.
struct Options {
  ReadLimits limits;
  std::optional<kvs_executor> executor;
  std::optional<kvs_allocator> allocator;
  std::optional<kvs_log> log;
  Progress progress;

  // Error usage if a function is missing.
  static Result<Options> of(const kvs_options* lent);
};

// For the length of a scope, loops that the calling thread starts run on the caller's threads, if
// there are any.
class OnLentThreads {
 public:
  explicit OnLentThreads(const Options& options);

 private:
  class LentExecutor : public Executor {
   public:
    explicit LentExecutor(const kvs_executor& lent) : lent_(lent) {}
    int threads() const override { return lent_.threads; }
    void run(size_t n, const std::function<void(size_t)>& body) override;

   private:
    kvs_executor lent_;
  };

  std::optional<LentExecutor> executor_;
  std::optional<UseExecutor> use_;
};

// Bytes that grow in memory of the caller's and are handed out where they are.
class LentBytes {
 public:
  explicit LentBytes(const Options& options);
  ~LentBytes();  // takes back what was not handed out
  LentBytes(const LentBytes&) = delete;
  LentBytes& operator=(const LentBytes&) = delete;

  Result<> reserve(size_t capacity);
  Result<> append(ByteSpan bytes);
  Result<> hand_out(kvs_buffer& out);

 private:
  void* resized(size_t capacity);

  kvs_buffer held_;
  size_t capacity_ = 0;
};

// A copy in memory of the caller's.
Result<> hand_out(ByteSpan bytes, const Options& options, kvs_buffer& out);

// A file that is read by a caller's function.
Result<std::shared_ptr<const ByteSource>> source_of(const kvs_source* lent);
// A caller's function that takes what is written.
Result<std::function<Result<>(ByteSpan)>> sink_of(const kvs_output* lent);

// What the codec reads of them: nothing if it reads none. Error usage if it cannot do with them.
Result<std::optional<codec::Embeddings>> embeddings_for(const codec::Codec* codec,
                                                        const kvs_embeddings* lent);

}  // namespace kvsplice::api
