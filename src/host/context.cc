#include <fmt/format.h>

#include <algorithm>

#include "core/threads.h"
#include "host/cache_type.h"
#include "host/capture.h"
#include "host/live_attention.h"
#include "host/log.h"
#include "host/model_impl.h"
#include "host/sampler.h"
#include "host/state_blob.h"

namespace kvsplice::host {

struct Context::Impl {
  const Model::Impl& model;
  ContextOptions options;
  NodeHook hook;
  LlamaContext context;
  std::vector<std::array<CacheTensor, 2>> caches;  // keys, values; like shape.layers
  std::vector<Turns> turns;                        // like shape.layers
  std::optional<Capturer> capturer;
  std::unique_ptr<LiveAttention> live;  // in its place
  Batch batch;
  std::vector<float> copied;      // logits of a decode in several pieces
  const float* logits = nullptr;  // llama.cpp's own, or copied
  size_t logit_rows = 0;
  size_t size = 0;
  bool sliding_moved = false;  // cells of sliding layers are not at their positions

  Impl(const Model::Impl& m, const ContextOptions& o)
      : model(m), options(o), batch(static_cast<size_t>(o.n_ubatch)) {}

  Result<> find_caches();
  Result<> watch();
  Result<> check_not_live(const char* what) const;
  void clear();
  Result<Bytes> get_state(llama_state_seq_flags flags) const;
  Result<> set_state(ByteSpan state, llama_state_seq_flags flags);
  Result<> decode_piece(std::span<const Token> tokens, size_t outputs);
  Result<const CacheTensor*> cache_of(Kind kind, int layer, size_t first, size_t rows,
                                      size_t cols) const;
  size_t vocabulary() const { return static_cast<size_t>(model.shape.vocabulary); }
  llama_memory_t memory() const { return llama_get_memory(context.get()); }
};

namespace {

Result<> check(const Model::Impl& model, const ContextOptions& o) {
  const int limit = llama_model_n_ctx_train(model.model.get());
  if (o.n_ctx < 1 || o.n_ctx > limit) {
    return Error{ErrorKind::usage,
                 fmt::format("context of {} tokens; the model allows 1 ... {}", o.n_ctx, limit)};
  }
  if (o.n_ubatch < 1) {
    return Error{ErrorKind::usage,
                 fmt::format("n_ubatch is {}, at least 1 is allowed", o.n_ubatch)};
  }
  const std::string type = cache_type_names()[static_cast<size_t>(o.cache)];
  if (!is_float(o.cache) && !o.flash_attention) {
    return Error{ErrorKind::usage, fmt::format("a cache of type {} needs flash attention", type)};
  }
  if (!is_float(o.cache) && (o.capture || o.write_back)) {
    return Error{ErrorKind::usage,
                 fmt::format("rows of a {} cache cannot be captured, llama.cpp rotates them first; "
                             "f16 and f32 can",
                             type)};
  }
  if (o.live && (o.capture || o.write_back || o.cache != CacheType::f16 || !o.flash_attention)) {
    return Error{ErrorKind::usage, "a live cache goes with flash attention, and no other cache"};
  }
  if (o.live && model.options.context > 0) {
    return Error{ErrorKind::unsupported,
                 "a live cache in a context by whose length the model turns otherwise"};
  }
  if (!o.signals.empty() != bool(o.capture)) {
    return Error{ErrorKind::usage, "signals to capture and a function that takes them go together"};
  }
  return {};
}

ContextOptions completed(ContextOptions o, const ModelOptions& of_model) {
  if (o.n_ubatch == 0) o.n_ubatch = of_model.most_at_once();
  o.n_ubatch = std::min({o.n_ubatch, std::max(o.n_ctx, 1), o.live ? kLiveCells : o.n_ubatch});
  o.flash_attention = o.flash_attention && of_model.flash_attention;
  return o;
}

}  // namespace

Context::Context(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Context::Context(Context&&) noexcept = default;
Context& Context::operator=(Context&&) noexcept = default;
Context::~Context() = default;

Result<Context> Context::create(const Model& model, const ContextOptions& options) {
  const ContextOptions complete = completed(options, model.options());
  KVS_TRY(check(model.impl(), complete));
  auto impl = std::make_unique<Impl>(model.impl(), complete);
  const ContextOptions& o = impl->options;
  llama_context_params params =
      context_params(model.options(), impl->hook, o.live ? kLiveCells : o.n_ctx, o.n_ubatch);
  if (o.threads > 0) params.n_threads = params.n_threads_batch = o.threads;
  params.type_k = params.type_v = ggml_type_of(o.cache);
  if (!o.flash_attention) params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  listen_to_log();
  impl->context.reset(llama_init_from_model(model.impl().model.get(), params));
  if (!impl->context) {
    return Error{kind_of_log_error(ErrorKind::unsupported),
                 fmt::format("no context of {} tokens with a {} cache: {}", o.n_ctx,
                             cache_type_names()[static_cast<size_t>(o.cache)],
                             first_log_error("no reason given"))};
  }
  KVS_TRY(impl->find_caches());
  KVS_TRY(impl->watch());
  return Context(std::move(impl));
}

Result<> Context::Impl::watch() {
  if (options.live) {
    KVS_ASSIGN(live, LiveAttention::create(model, options.live, options.live_options, caches));
    hook.on_node = [l = live.get()](ggml_tensor* node, bool ask) { return l->on_node(node, ask); };
    const Token token = 0;  // what cannot be answered is found before there is anything to lose
    KVS_TRY(decode_piece({&token, 1}, 0));
    clear();
    return {};
  }
  capturer.emplace(model, options, caches);
  if (capturer->idle()) return {};
  hook.on_node = [c = &*capturer](ggml_tensor* node, bool ask) { return c->on_node(node, ask); };
  return {};
}

Result<> Context::Impl::check_not_live(const char* what) const {
  if (!live) return {};
  return Error{ErrorKind::unsupported, fmt::format("a live cache cannot be {}", what)};
}

Result<> Context::Impl::find_caches() {
  const llama_token token = 0;
  batch.fill({&token, 1}, 0, 1);
  KVS_ASSIGN(GraphSurvey graph,
             survey_graph(context.get(), hook, batch, model.options.on_devices()));
  llama_memory_clear(memory(), true);
  for (const LayerShape& l : model.shape.layers) {
    const LayerGraph& found = graph.layers[l.layer];
    if (found.key == nullptr || (found.value == nullptr && l.value_dim > 0)) {
      return Error{ErrorKind::unsupported, fmt::format("layer {} has lost its cache", l.layer)};
    }
    // Some models rotate differently in long contexts; their keys would not be the ones described.
    if (is_float(options.cache) && found.rope != l.rope) {
      return Error{
          ErrorKind::unsupported,
          fmt::format("with a context of {} tokens the model rotates by another table than "
                      "in short contexts; legal: a shorter one, or --ctx {}",
                      options.n_ctx, options.n_ctx)};
    }
    caches.push_back({CacheTensor{found.key, false}, {found.value, !options.flash_attention}});
    turns.push_back(found.turns);
  }
  return {};
}

Result<> Context::decode(std::span<const Token> tokens, size_t outputs) {
  Impl& m = *impl_;
  if (outputs > tokens.size()) {
    return Error{ErrorKind::usage, fmt::format("logits of {} tokens wanted, {} are evaluated",
                                               outputs, tokens.size())};
  }
  if (tokens.size() > size_t(m.options.n_ctx) - m.size) {
    return Error{ErrorKind::usage, fmt::format("{} tokens after {} exceed the context of {}",
                                               tokens.size(), m.size, m.options.n_ctx)};
  }
  const auto most = static_cast<size_t>(m.options.n_ubatch);
  const size_t silent = tokens.size() - outputs;
  const bool copies = outputs > 0 && silent / most != (tokens.size() - 1) / most;
  m.copied.clear();
  m.logit_rows = 0;
  for (size_t at = 0; at < tokens.size(); at += most) {
    const size_t n = std::min(most, tokens.size() - at);
    const size_t before_outputs = std::min(n, silent > at ? silent - at : 0);
    KVS_TRY(m.decode_piece(tokens.subspan(at, n), n - before_outputs));
    if (copies)
      m.copied.insert(m.copied.end(), m.logits, m.logits + (n - before_outputs) * m.vocabulary());
  }
  if (copies) m.logits = m.copied.data();
  m.logit_rows = outputs;
  return {};
}

Result<> Context::Impl::decode_piece(std::span<const Token> tokens, size_t outputs) {
  batch.fill(tokens, size, outputs);
  live ? live->begin(size, tokens.size()) : capturer->begin(size, tokens.size());
  listen_to_log();
  const int status = llama_decode(context.get(), batch.get());
  Result<> outcome = live ? live->outcome() : capturer->outcome();
  if (outcome.ok() && status != 0) {
    outcome =
        Error{ErrorKind::numeric,
              fmt::format("llama.cpp cannot evaluate {} tokens at position {}: {}", tokens.size(),
                          size, first_log_error(fmt::format("status {}", status)))};
  }
  if (outcome.ok() && outputs > 0) logits = llama_get_logits(context.get());
  for (size_t i = 0; i < outputs && outcome.ok(); ++i) {
    outcome = check_logits({logits + i * vocabulary(), vocabulary()});
  }
  if (!outcome.ok()) {
    // Layers of a live cache, or a recurrent state, may have gone on already.
    if (live || !llama_memory_seq_rm(memory(), 0, static_cast<llama_pos>(size), -1)) clear();
    return outcome;
  }
  if (live) llama_memory_seq_rm(memory(), 0, -1, -1);  // an empty sequence may go on anywhere
  size += tokens.size();
  return {};
}

std::span<const float> Context::logits(size_t i) const {
  assert(i < impl_->logit_rows);
  return {impl_->logits + i * impl_->vocabulary(), impl_->vocabulary()};
}

size_t Context::size() const { return impl_->size; }

void Context::clear() { impl_->clear(); }

void Context::Impl::clear() {
  llama_memory_clear(memory(), true);
  if (live) live->clear();
  size = 0;
  sliding_moved = false;
}

Result<> Context::truncate(size_t n) {
  if (n > impl_->size) {
    return Error{ErrorKind::usage, fmt::format("cannot keep {} of {} tokens", n, impl_->size)};
  }
  KVS_TRY(impl_->check_not_live("truncated"));
  if (!llama_memory_seq_rm(impl_->memory(), 0, static_cast<llama_pos>(n), -1)) {
    return Error{ErrorKind::unsupported,
                 fmt::format("a hybrid's recurrent state cannot go back from token {} to {}",
                             impl_->size, n)};
  }
  impl_->size = n;
  return {};
}

Result<Bytes> Context::Impl::get_state(llama_state_seq_flags flags) const {
  Bytes state(llama_state_seq_get_size_ext(context.get(), 0, flags));
  const size_t n =
      llama_state_seq_get_data_ext(context.get(), state.data(), state.size(), 0, flags);
  if (n == 0 || n > state.size()) {
    return Error{ErrorKind::unsupported,
                 fmt::format("llama.cpp gave {} of {} bytes of its state", n, state.size())};
  }
  state.resize(n);
  return state;
}

Result<> Context::Impl::set_state(ByteSpan state, llama_state_seq_flags flags) {
  listen_to_log();
  if (llama_state_seq_set_data_ext(context.get(), state.data(), state.size(), 0, flags) ==
      state.size()) {
    return {};
  }
  clear();
  return Error{ErrorKind::mismatch, fmt::format("llama.cpp does not take the state: {}",
                                                first_log_error("no reason given"))};
}

// Behind the sliding cache, which llama.cpp saves along with it.
Result<session::RecurrentState> Context::recurrent_state() const {
  KVS_ASSIGN(const Bytes part, impl_->get_state(LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY));
  return recurrent_of_part(part, impl_->model.shape);
}

Result<> Context::go_back(const session::RecurrentState& state) {
  Impl& m = *impl_;
  if (!m.model.shape.hybrid()) {
    return Error{ErrorKind::usage, "the model has no recurrent layers"};
  }
  if (state.position > m.size) {
    return Error{ErrorKind::usage,
                 fmt::format("cannot keep {} of {} tokens", state.position, m.size)};
  }
  KVS_TRY(session::check_state(state, m.model.shape));
  const Bytes part = part_of_recurrent(state, m.model.shape);
  KVS_TRY(m.set_state(part, LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY));
  return truncate(state.position);
}

Result<const CacheTensor*> Context::Impl::cache_of(Kind kind, int layer, size_t first, size_t rows,
                                                   size_t cols) const {
  KVS_TRY(check_not_live("read or written"));
  if (!is_float(options.cache)) {
    return Error{
        ErrorKind::usage,
        fmt::format("rows of a {} cache cannot be read or written, of f16 and f32 they can",
                    cache_type_names()[static_cast<size_t>(options.cache)])};
  }
  if (layer < 0 || size_t(layer) >= caches.size()) {
    return Error{ErrorKind::usage,
                 fmt::format("layer {} is not in 0 ... {}", layer, caches.size() - 1)};
  }
  if (first > size || rows > size - first) {
    return Error{ErrorKind::usage,
                 fmt::format("rows {} ... {} of a cache of {} tokens", first, first + rows, size)};
  }
  if (sliding_moved && model.shape.layers[size_t(layer)].window > 0) {
    return Error{ErrorKind::unsupported,
                 fmt::format("layer {} has a sliding window and came from a saved state: its rows "
                             "cannot be read or written one by one",
                             layer)};
  }
  const auto width = static_cast<size_t>(model.shape.layers[size_t(layer)].width(kind));
  if (cols != width) {
    return Error{ErrorKind::usage, fmt::format("rows of {} values, {}s of layer {} have {}", cols,
                                               name(kind), layer, width)};
  }
  return &caches[size_t(layer)][kind == Kind::key ? 0 : 1];
}

Result<> Context::read_cache(Kind kind, int layer, size_t first, MatrixView<float> out) const {
  KVS_ASSIGN(const CacheTensor* cache, impl_->cache_of(kind, layer, first, out.rows, out.cols));
  if (out.cols > 0) cache->get(first, out);
  return {};
}

Result<> Context::write_cache(Kind kind, int layer, size_t first, MatrixView<const float> rows) {
  KVS_ASSIGN(const CacheTensor* cache, impl_->cache_of(kind, layer, first, rows.rows, rows.cols));
  return rows.cols > 0 ? cache->set(first, rows) : Result<>();
}

Result<Bytes> Context::save_state() const {
  KVS_TRY(impl_->check_not_live("saved as a state"));
  return impl_->get_state(0);
}

Result<> Context::load_state(ByteSpan state) {
  KVS_TRY(impl_->check_not_live("loaded from a state"));
  clear();
  KVS_TRY(impl_->set_state(state, 0));
  impl_->size = static_cast<size_t>(llama_memory_seq_pos_max(impl_->memory(), 0) + 1);
  impl_->sliding_moved = true;
  return {};
}

size_t Context::cache_bytes() const {
  if (const auto cells = live_cells()) {
    return impl_->live->table_bytes() + cells->coded + cells->exact;
  }
  size_t bytes = 0;
  for (const auto& pair : impl_->caches) {
    for (const CacheTensor& cache : pair) {
      if (cache.tensor != nullptr) bytes += ggml_nbytes(cache.tensor);  // there may be no values
    }
  }
  return bytes;
}

std::optional<live::CellBytes> Context::live_cells() const {
  if (!impl_->live) return {};
  return impl_->live->cells();
}

const std::vector<live::LayerCache>& Context::live_layers() const {
  static const std::vector<live::LayerCache> none;
  return impl_->live ? impl_->live->layers() : none;
}

Result<> Context::set_live_layers(std::vector<live::LayerCache> layers) {
  Impl& m = *impl_;
  const size_t n = layers.empty() ? 0 : layers[0].count();
  const bool fits = m.live && layers.size() == m.live->layers().size() &&
                    std::all_of(layers.begin(), layers.end(), [&](const live::LayerCache& l) {
                      return &l.form() == &m.live->form() && l.count() == n;
                    });
  if (!fits) return Error{ErrorKind::usage, "these layers are not of the context's live cache"};
  if (n > size_t(m.options.n_ctx)) {
    return Error{ErrorKind::usage,
                 fmt::format("{} tokens exceed the context of {}", n, m.options.n_ctx)};
  }
  m.clear();
  m.live->set_layers(std::move(layers));
  m.size = n;
  return {};
}

CacheType Context::cache_type() const { return impl_->options.cache; }
std::span<const Turns> Context::turns() const { return impl_->turns; }

}  // namespace kvsplice::host
