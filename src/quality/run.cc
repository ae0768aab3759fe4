#include "quality/run.h"

#include <algorithm>
#include <cmath>

#include "core/stopwatch.h"
#include "core/threads.h"

namespace kvsplice::quality {

namespace {

// The least a detour can do: rows rounded to a step of 1/500 of their rms, far below f16's effect
// on attention, so that what it changes in the logits is the host's own noise.
Matrix<float> nudged(const Matrix<float>& rows) {
  double squares = 0;
  for (float x : rows.flat()) squares += double(x) * x;
  const float step = static_cast<float>(std::sqrt(squares / double(rows.size())) / 500);
  Matrix<float> out = rows;
  if (step > 0) {
    for (float& x : out.flat()) x = std::round(x / step) * step;
  }
  return out;
}

// The pieces one behind the other.
KvBlock<float> joined(const std::vector<KvBlock<float>>& pieces, const ModelShape& shape) {
  size_t n = 0;
  for (const auto& piece : pieces) n += piece.count();
  KvBlock<float> all(shape, Space::raw, 0, n);
  size_t at = 0;
  for (const auto& piece : pieces) {
    put(all, at, piece, 0, piece.count());
    at += piece.count();
  }
  return all;
}

// Layers with a window have no rows any more.
void leave_windows_out(KvView& block, const ModelShape& shape) {
  block.absent = block.count();
  for (size_t l = 0; l < shape.layers.size(); ++l) {
    if (shape.layers[l].window == 0) continue;
    for (Kind kind : {Kind::key, Kind::value}) {
      block.of(kind)[l] = block.of(kind)[l].row_range(0, 0);
    }
  }
}

double f16_bytes(const KvView& block) {
  size_t values = 0;
  for (Kind kind : {Kind::key, Kind::value}) {
    for (const RowsView& rows : block.of(kind)) values += rows.rows * rows.cols;
  }
  return 2.0 * double(values);
}

}  // namespace

Run::Run(const host::Model& model, const Subject& subject, int step, const Options& options)
    : model_(&model),
      subject_(subject),
      step_(step),
      options_(options),
      embeddings_(host::embeddings_of(model)) {}

Result<Run> Run::create(const host::Model& model, const Subject& subject, int step,
                        const Options& options) {
  Run run(model, subject, step, options);
  host::ContextOptions context;
  context.n_ctx = options.n_ctx;
  context.n_ubatch = std::min(options.n_ctx, step);
  context.threads = options.threads;
  context.cache = subject.type.value_or(host::CacheType::f16);
  context.live = subject.live;
  context.live_options = {size_t(options.sinks), size_t(options.window)};
  KVS_ASSIGN(run.context_, host::Context::create(model, context));
  return run;
}

void Run::begin() {
  context_->clear();
  replaced_ = static_cast<size_t>(options_.sinks);
  originals_.clear();
  open_.clear();
}

Result<> Run::step(std::span<const host::Token> chunk, std::span<const host::Token> targets,
                   const Run* base) {
  const size_t n = chunk.size(), first_scored = n / 2, at = context_->size();
  const size_t end = std::min(n, at + size_t(step_));
  const size_t outputs = end > first_scored ? end - std::max(at, first_scored) : 0;
  rows_.clear();
  {
    const AddTime timer(seconds_);
    if (!subject_.type && !subject_.live) KVS_TRY(replace_up_to(chunk, at));
    KVS_TRY(context_->decode(chunk.subspan(at, end - at), outputs));
  }
  if (outputs == 0) return {};
  // The last position of a chunk has no target.
  const size_t scored = end == n ? outputs - 1 : outputs;
  score(scored, targets.subspan(end - outputs - first_scored, scored), base);
  return {};
}

Result<> Run::end(std::span<const host::Token> chunk) {
  const size_t n = chunk.size();
  evaluated_ += n;
  ++chunks_;
  // Codecs of whole blocks are counted with every row they were given.
  const bool whole = subject_.codec != nullptr && subject_.codec->whole_block();
  const ModelShape& shape = model_->shape();
  held_f16_ += whole ? double(n * shape.f16_bytes_per_token()) : shape.f16_bytes(n);
  if (!subject_.live) return count_bytes(n);
  count_live_bytes();
  return {};
}

void Run::count_live_bytes() {
  const live::CellBytes cells = context_->live_cells().value();
  bytes_ += cells.coded;
  exact_bytes_ += cells.exact;
  encoded_ += cells.tokens;
  encoded_f16_ += double(cells.f16);
}

Result<> Run::replace_up_to(std::span<const host::Token> chunk, size_t position) {
  const size_t window = static_cast<size_t>(options_.window);
  const size_t limit = position > window ? position - window : 0;
  while (replaced_ < limit) {
    // No further than the block reaches, where rows depend on those before them in it.
    const size_t block = depends() ? block_tokens() : limit;
    const size_t left = block - (replaced_ - static_cast<size_t>(options_.sinks)) % block;
    KVS_TRY(replace(chunk, replaced_, std::min(limit, replaced_ + left)));
  }
  return {};
}

// Tokens [first, end), of one block.
Result<> Run::replace(std::span<const host::Token> chunk, size_t first, size_t end) {
  KVS_ASSIGN(KvBlock<float> block,
             host::read_block(*context_, model_->shape(), chunk, first, end - first));
  KvBlock<float> made;
  if (depends()) {
    // Rows before stay what they are: coding the block again up to here tells the new ones.
    const size_t begun = (first - static_cast<size_t>(options_.sinks)) % block_tokens();
    if (begun == 0) open_.clear();
    open_.push_back(block);
    KVS_ASSIGN(const KvBlock<float> all,
               subject_.codec->roundtrip(joined(open_, model_->shape()), &embeddings_, nullptr));
    made = convert<float>(all.view().slice(begun, end - first), model_->shape(), Space::raw);
  } else {
    KVS_ASSIGN(made, reconstruct(block));
  }
  KVS_TRY(host::write_block(*context_, model_->shape(), std::move(made)));
  if (subject_.codec != nullptr && !subject_.codec->whole_block()) {
    originals_.push_back(std::move(block));
  }
  replaced_ = end;
  return {};
}

bool Run::depends() const { return subject_.codec != nullptr && subject_.codec->reach() > 1; }

size_t Run::block_tokens() const {
  return subject_.codec == nullptr ? codec::kBlockTokens : subject_.codec->block_tokens();
}

Result<KvBlock<float>> Run::reconstruct(const KvBlock<float>& block) {
  if (subject_.codec == nullptr) {
    KvBlock<float> made = block;
    for (Kind kind : {Kind::key, Kind::value}) {
      for (auto& rows : made.of(kind)) rows = nudged(rows);
    }
    return made;
  }
  if (!subject_.codec->whole_block()) {
    return subject_.codec->roundtrip(block, &embeddings_, &meter_);
  }
  KVS_ASSIGN(const Bytes bytes, subject_.codec->encode(block, &embeddings_));
  bytes_ += bytes.size();
  encoded_ += block.count();
  encoded_f16_ += f16_bytes(block);
  return subject_.codec->decode(bytes, block.tokens, block.positions, &embeddings_);
}

// Unless codecs want whole blocks, rows have the same codes as in the loop, so bytes are counted in
// blocks of the size that sessions use, once the chunk is done. Like sessions, blocks have no rows
// of layers with a window for tokens it has passed.
Result<> Run::count_bytes(size_t chunk) {
  const KvBlock<float> originals = joined(originals_, model_->shape());
  const auto sinks = static_cast<size_t>(options_.sinks);
  const size_t passed = model_->shape().tokens_out_of_sight(chunk);
  const size_t begun = passed > sinks ? std::min(passed - sinks, originals.count()) : 0;
  size_t n = 0;
  for (size_t at = 0; at < originals.count(); at += n) {
    n = std::min(block_tokens(), (at < begun ? begun : originals.count()) - at);
    KvView block = originals.view().slice(at, n);
    if (at < begun) leave_windows_out(block, model_->shape());
    if (depends()) KVS_TRY(subject_.codec->roundtrip(block, &embeddings_, &meter_));
    Bytes bytes;
    {
      const AddTime timer(encode_seconds_);
      KVS_ASSIGN(bytes, subject_.codec->encode(block, &embeddings_));
    }
    const AddTime timer(decode_seconds_);
    KVS_TRY(subject_.codec->decode(bytes, block.tokens, block.positions, &embeddings_));
    bytes_ += bytes.size();
    encoded_ += n;
    encoded_f16_ += f16_bytes(block);
  }
  return {};
}

void Run::score(size_t rows, std::span<const host::Token> targets, const Run* base) {
  std::vector<Divergence::Sample> samples(rows);
  rows_.resize(rows);
  parallel_for(rows, [&](size_t i) {
    rows_[i] = LogProbs(context_->logits(i));
    if (base != nullptr) {
      samples[i] = Divergence::compare(base->rows_[i], rows_[i], size_t(targets[i]));
    }
  });
  for (size_t i = 0; i < rows; ++i) {
    perplexity_.add(-double(rows_[i][size_t(targets[i])]));
    if (base != nullptr) divergence_.add(samples[i]);
  }
}

Outcome Run::outcome() const {
  Outcome o;
  o.cache = subject_.name;
  o.step = step_;
  o.ppl = perplexity_.value();
  o.ppl_error = perplexity_.error();
  o.scored = perplexity_.count();
  const Divergence::Summary d = divergence_.summary();
  o.kld_mean = d.mean;
  o.kld_median = d.median;
  o.kld_p99 = d.p99;
  o.top1_percent = divergence_.count() > 0 ? d.top1_percent : 100;
  o.rms_dp_percent = d.rms_dp_percent;
  o.tokens_per_second = double(evaluated_) / seconds_;
  o.state_bytes = model_->shape().recurrent_bytes();
  const double states = double(chunks_ * o.state_bytes);  // which no cache makes smaller
  if (subject_.type) {
    o.bits_per_value = host::bits_per_value(*subject_.type);
    o.ratio = o.ratio_with_window =
        states > 0 ? (held_f16_ + states) / (held_f16_ * o.bits_per_value / 16 + states)
                   : 16 / o.bits_per_value;
    return o;
  }
  if (subject_.codec == nullptr) return o;
  o.pipeline = codec::print(subject_.codec->text());
  o.codec_file_bytes = subject_.codec->state_bytes();
  if (encoded_ == 0) return o;
  o.bits_per_value = 16 * double(bytes_) / encoded_f16_;
  o.entropy_bits_per_value =
      meter_.bits() / (double(encoded_) * double(model_->shape().values_per_token()));
  o.ratio = (encoded_f16_ + states) / (double(bytes_) + states);
  if (subject_.live) {
    o.ratio_with_window = held_f16_ / double(bytes_ + exact_bytes_);
    return o;
  }
  o.ratio_with_window = (held_f16_ + states) / (double(bytes_) + held_f16_ - encoded_f16_ + states);
  o.encode_us_per_token = 1e6 * encode_seconds_ / double(encoded_);
  o.decode_us_per_token = 1e6 * decode_seconds_ / double(encoded_);
  return o;
}

}  // namespace kvsplice::quality
