#include "api/lent.h"

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <utility>

#include "core/errors.h"

namespace kvsplice::api {

namespace {

Result<> check(const kvs_options& lent) {
  if (lent.executor != nullptr && (lent.executor->run == nullptr || lent.executor->threads < 1)) {
    return usage_error(
        fmt::format("an executor of {} threads{}; legal: at least 1, and a function run",
                    lent.executor->threads, lent.executor->run ? "" : " without run"));
  }
  if (lent.allocator != nullptr &&
      (lent.allocator->allocate == nullptr) != (lent.allocator->release == nullptr)) {
    return usage_error("an allocator with one of its two functions; legal: both or none");
  }
  if (lent.log != nullptr && lent.log->write == nullptr) return usage_error("a log without write");
  if (lent.progress != nullptr && lent.progress->step == nullptr) {
    return usage_error("a progress without step");
  }
  return {};
}

template <class T>
std::optional<T> copy_of(const T* lent) {
  return lent != nullptr ? std::optional<T>(*lent) : std::nullopt;
}

class LentSource : public ByteSource {
 public:
  explicit LentSource(const kvs_source& lent) : lent_(lent) {}
  uint64_t size() const override { return lent_.size; }
  Result<> read(uint64_t offset, void* out, size_t n) const override {
    if (offset > lent_.size || n > lent_.size - offset) {
      return Error{ErrorKind::format, fmt::format("{} bytes at {} of {}", n, offset, lent_.size)};
    }
    if (n == 0 || lent_.read(lent_.user, offset, out, n) == 0) return {};
    return Error{ErrorKind::io, fmt::format("the caller could not read {} bytes at {}", n, offset)};
  }

 private:
  kvs_source lent_;
};

Result<> look_up(const kvs_embeddings& lent, std::span<const int32_t> tokens,
                 MatrixView<float> out) {
  if (tokens.empty() || lent.lookup(lent.user, tokens.data(), tokens.size(), out.data) == 0) {
    return {};
  }
  return Error{ErrorKind::io,
               fmt::format("the caller gave no embeddings of {} tokens", tokens.size())};
}

}  // namespace

Result<Options> Options::of(const kvs_options* lent) {
  Options own;
  if (lent == nullptr) return own;
  KVS_TRY(check(*lent));
  if (lent->limits != nullptr) {
    if (lent->limits->tokens > 0) own.limits.tokens = lent->limits->tokens;
    if (lent->limits->bytes > 0) own.limits.bytes = lent->limits->bytes;
  }
  own.executor = copy_of(lent->executor);
  if (lent->allocator != nullptr && lent->allocator->allocate != nullptr) {
    own.allocator = *lent->allocator;
  }
  own.log = copy_of(lent->log);
  if (lent->progress != nullptr) {
    own.progress.on_step = [step = *lent->progress](const std::string&, size_t done, size_t total) {
      return step.step(step.user, done, total) == 0;
    };
  }
  return own;
}

void OnLentThreads::LentExecutor::run(size_t n, const std::function<void(size_t)>& body) {
  const auto call = [](void* data, size_t i) {
    (*static_cast<const std::function<void(size_t)>*>(data))(i);
  };
  lent_.run(lent_.user, n, call, const_cast<std::function<void(size_t)>*>(&body));
}

OnLentThreads::OnLentThreads(const Options& options) {
  if (options.executor) use_.emplace(executor_.emplace(*options.executor));
}

LentBytes::LentBytes(const Options& options)
    : held_{nullptr, 0, options.allocator.value_or(kvs_allocator{nullptr, nullptr, nullptr})} {}

LentBytes::~LentBytes() { kvs_buffer_free(&held_); }

// realloc moves pages and copies nothing where it can; callers' allocators have no such function.
void* LentBytes::resized(size_t capacity) {
  const kvs_allocator& from = held_.allocator;
  if (from.allocate == nullptr) return std::realloc(held_.data, capacity);
  void* data = from.allocate(from.user, capacity);
  if (data == nullptr || held_.data == nullptr) return data;
  std::memcpy(data, held_.data, held_.size);
  from.release(from.user, held_.data);
  return data;
}

Result<> LentBytes::reserve(size_t capacity) {
  capacity = std::max<size_t>(capacity, 1);
  if (capacity <= capacity_) return {};
  void* data = resized(capacity);
  if (data == nullptr) {
    return Error{ErrorKind::memory, fmt::format("out of memory for {} bytes", capacity)};
  }
  held_.data = static_cast<uint8_t*>(data);
  capacity_ = capacity;
  return {};
}

Result<> LentBytes::append(ByteSpan bytes) {
  const size_t needed = held_.size + bytes.size();
  if (needed > capacity_) KVS_TRY(reserve(std::max(needed, capacity_ + capacity_ / 2)));
  std::copy(bytes.begin(), bytes.end(), held_.data + held_.size);
  held_.size = needed;
  return {};
}

Result<> LentBytes::hand_out(kvs_buffer& out) {
  KVS_TRY(reserve(held_.size));  // an empty buffer has an address, too
  out = std::exchange(held_, kvs_buffer{});
  return {};
}

Result<> hand_out(ByteSpan bytes, const Options& options, kvs_buffer& out) {
  LentBytes copy(options);
  KVS_TRY(copy.reserve(bytes.size()));
  KVS_TRY(copy.append(bytes));
  return copy.hand_out(out);
}

Result<std::shared_ptr<const ByteSource>> source_of(const kvs_source* lent) {
  if (lent == nullptr || lent->read == nullptr)
    return usage_error("no source, or one without read");
  return std::shared_ptr<const ByteSource>(std::make_shared<LentSource>(*lent));
}

Result<std::function<Result<>(ByteSpan)>> sink_of(const kvs_output* lent) {
  if (lent == nullptr || lent->write == nullptr) {
    return usage_error("no output, or one without write");
  }
  return std::function([to = *lent](ByteSpan piece) -> Result<> {
    if (piece.empty() || to.write(to.user, piece.data(), piece.size()) == 0) return {};
    return Error{ErrorKind::io, fmt::format("the caller could not write {} bytes", piece.size())};
  });
}

Result<std::optional<codec::Embeddings>> embeddings_for(const codec::Codec* codec,
                                                        const kvs_embeddings* lent) {
  if (codec == nullptr || !codec->needs_embeddings()) return std::optional<codec::Embeddings>();
  const int dim = codec->shape().embedding_dim;
  if (lent == nullptr || lent->lookup == nullptr) {
    return usage_error(
        fmt::format("no embeddings; this codec reads those of the tokens, {} wide", dim));
  }
  if (lent->dim != dim) {
    return usage_error(fmt::format("embeddings {} wide; the model's are {}", lent->dim, dim));
  }
  return std::optional(
      codec::Embeddings{dim, [own = *lent](std::span<const int32_t> tokens, MatrixView<float> out) {
                          return look_up(own, tokens, out);
                        }});
}

}  // namespace kvsplice::api
