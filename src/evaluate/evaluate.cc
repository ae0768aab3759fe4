#include "evaluate/evaluate.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/errors.h"
#include "core/same_cache.h"
#include "core/stopwatch.h"
#include "evaluate/dump_attention.h"
#include "fit/dump_source.h"

namespace kvsplice::evaluate {

namespace {

using codec::Codec;
using host::Signal;

constexpr Kind kKinds[] = {Kind::key, Kind::value};

Result<> check_shape(const Codec& codec, const std::string& name, const extract::Dump& dump) {
  return same_cache(name + " was fitted for", codec.shape(), dump.path(),
                    codec::dumped_shape(dump.info()));
}

// Errors of attention are not measured where it takes its values from the keys.
bool shows_attention(const extract::Dump& dump) {
  return dump.has(Signal::query) && !dump.info().shape.lacks_values();
}

Result<> check_dump(const extract::Dump& dump) {
  for (Signal signal : {Signal::key_before_rope, Signal::value}) {
    if (!dump.has(signal)) {
      return Error{ErrorKind::usage,
                   fmt::format("{} holds no {}; extract it again with all signals", dump.path(),
                               host::name(signal))};
    }
  }
  return {};
}

// The texts, cut at max_tokens; those with nothing behind the sinks are an error.
Result<std::vector<TextRange>> ranges_of(const extract::Dump& dump,
                                         const EvaluateOptions& options) {
  std::vector<TextRange> ranges;
  size_t first = 0;
  for (const auto& text : dump.info().texts) {
    const size_t limit = options.max_tokens > 0 ? options.max_tokens : text.tokens;
    ranges.push_back({first, std::min(text.tokens, limit)});
    if (ranges.back().tokens <= options.sinks) {
      return Error{ErrorKind::usage,
                   fmt::format("{} tokens of text {} are evaluated; more than the {} exact ones at "
                               "its beginning are needed",
                               ranges.back().tokens, text.name, options.sinks)};
    }
    first += text.tokens;
  }
  if (ranges.empty()) return Error{ErrorKind::usage, dump.path() + " holds no text"};
  return ranges;
}

Result<KvBlock<float>> read_block(const extract::Dump& dump, size_t first, size_t n) {
  KvBlock<float> block;
  const auto tokens = dump.tokens().subspan(first, n);
  const auto positions = dump.positions().subspan(first, n);
  block.tokens.assign(tokens.begin(), tokens.end());
  block.positions.assign(positions.begin(), positions.end());
  for (int layer : dump.info().layers) {
    KVS_ASSIGN(Matrix<float> keys, dump.read(Signal::key_before_rope, layer, first, n));
    KVS_ASSIGN(Matrix<float> values, dump.read(Signal::value, layer, first, n));
    block.keys.push_back(std::move(keys));
    block.values.push_back(std::move(values));
  }
  return block;
}

template <class T>
Result<T> timed(double& seconds, const std::function<Result<T>()>& work) {
  const AddTime timer(seconds);
  return work();
}

// One evaluation under way.
class Evaluation {
 public:
  Evaluation(const Codec& codec, const extract::Dump& dump, const EvaluateOptions& options,
             const codec::Embeddings* embeddings)
      : codec_(codec), dump_(dump), options_(options), embeddings_(embeddings) {
    for (size_t l = 0; l < codec.shape().layers.size(); ++l) {
      const int layer = codec.shape().layers[l].layer;
      for (Kind kind : kKinds) quality_.units.push_back({layer, kind, {}, 0});
      if (shows_attention(dump)) quality_.attention.push_back({layer, {}, {}, {}});
    }
    quality_.values_per_token = codec.shape().values_per_token();
    quality_.state_bytes = codec.state_bytes();
  }

  // `step` is called before each block and each layer's attention.
  Result<> add(const TextRange& text, const std::function<Result<>()>& step) {
    const bool attention = !quality_.attention.empty();
    KvBlock<float> decoded;  // of the whole text, for attention
    if (attention) {
      KVS_ASSIGN(decoded, read_block(dump_, text.first, text.tokens));
    }
    for (size_t at = options_.sinks; at < text.tokens; at += options_.block) {
      KVS_TRY(step());
      const size_t n = std::min(options_.block, text.tokens - at);
      KVS_ASSIGN(const KvBlock<float> original, read_block(dump_, text.first + at, n));
      KVS_ASSIGN(const KvBlock<float> made, through_codec(original));
      KVS_TRY(add_errors(original, made, at));
      if (attention) put(decoded, at, made, 0, n);
    }
    quality_.tokens += text.tokens - options_.sinks;
    quality_.sink_tokens += options_.sinks;
    if (!attention) return {};
    const auto at = query_positions(text.tokens, options_.queries);
    quality_.query_positions += at.size();
    for (size_t l = 0; l < quality_.attention.size(); ++l) {
      KVS_TRY(step());
      KVS_TRY(add_attention_errors(dump_, l, text, at, decoded.keys[l], decoded.values[l],
                                   quality_.attention[l]));
    }
    return {};
  }

  CodecQuality finish() {
    quality_.key_entropy_bits = entropy_bits(Kind::key);
    quality_.value_entropy_bits = entropy_bits(Kind::value);
    return std::move(quality_);
  }

 private:
  Result<KvBlock<float>> through_codec(const KvBlock<float>& block) {
    KVS_ASSIGN(const Bytes bytes, timed<Bytes>(quality_.encode_seconds,
                                               [&] { return codec_.encode(block, embeddings_); }));
    quality_.bytes += bytes.size();
    KVS_TRY(count_units(bytes));
    KVS_TRY(codec_.roundtrip(block, embeddings_, &meter_));
    return timed<KvBlock<float>>(quality_.decode_seconds, [&] {
      return codec_.decode(bytes, block.tokens, block.positions, embeddings_);
    });
  }

  Result<> count_units(ByteSpan bytes) {
    KVS_ASSIGN(const auto payloads, codec_.payloads(bytes));
    for (size_t i = 0; i < payloads.size(); ++i) {
      const codec::Unit& unit = codec_.units()[i].unit();
      if (unit.layer >= 0) {
        quality_.units[2 * unit.layer + size_t(unit.kind)].bytes += payloads[i].size();
      }
    }
    return {};
  }

  Result<> add_errors(const KvBlock<float>& original, const KvBlock<float>& made, size_t first) {
    const auto& layers = codec_.shape().layers;
    for (size_t i = 0; i < quality_.units.size(); ++i) {
      UnitQuality& unit = quality_.units[i];
      if (layers[i / 2].width(unit.kind) == 0) continue;
      auto added = unit.errors.add(original.of(unit.kind)[i / 2], made.of(unit.kind)[i / 2],
                                   layers[i / 2].heads_dim(unit.kind));
      if (!added.ok()) {
        return within(
            fmt::format("layer {} {}s, block at token {}", unit.layer, name(unit.kind), first),
            added.error());
      }
    }
    return {};
  }

  std::optional<double> entropy_bits(Kind kind) const {
    const auto& stages = codec_.text().of(kind);
    const bool quantises = std::any_of(stages.begin(), stages.end(), [](const auto& stage) {
      return codec::find_stage(stage.name)->group == "quantise";
    });
    if (!quantises) return std::nullopt;
    double values = 0;
    for (const auto& l : codec_.shape().layers) values += double(l.width(kind));
    if (values == 0) return std::nullopt;
    return meter_.bits(kind) / (values * double(quality_.tokens));
  }

  const Codec& codec_;
  const extract::Dump& dump_;
  const EvaluateOptions& options_;
  const codec::Embeddings* embeddings_;
  codec::EntropyMeter meter_;
  CodecQuality quality_;
};

}  // namespace

double CodecQuality::ratio_with_sinks() const {
  const double sinks = 2.0 * double(values_per_token) * double(sink_tokens);
  return (f16_bytes() + sinks) / (double(bytes) + sinks);
}

std::optional<double> CodecQuality::payback_tokens() const {
  const double saved = (f16_bytes() - double(bytes)) / double(tokens);
  if (saved <= 0) return std::nullopt;
  return double(state_bytes) / saved;
}

VectorErrors CodecQuality::errors(Kind kind) const {
  VectorErrors all;
  for (const auto& unit : units) {
    if (unit.kind == kind) all += unit.errors;
  }
  return all;
}

double CodecQuality::attention_error(ErrorSums AttentionQuality::*part) const {
  double sum = 0;
  for (const auto& layer : attention) sum += (layer.*part).relative_rms();
  return attention.empty() ? 0 : sum / double(attention.size());
}

Result<CodecQuality> evaluate(const Codec& codec, const std::string& name,
                              const extract::Dump& dump, const EvaluateOptions& options,
                              const codec::Embeddings* embeddings, const Progress& progress) {
  if (options.block == 0)
    return Error{ErrorKind::usage, "block = 0 is not allowed; legal: 1 or more"};
  KVS_TRY(check_dump(dump));
  KVS_TRY(check_shape(codec, name, dump));
  if (codec.needs_embeddings() && embeddings == nullptr) {
    return Error{ErrorKind::usage, name + " reads token embeddings: name the model (-m)"};
  }
  KVS_ASSIGN(const auto ranges, ranges_of(dump, options));
  size_t total = 0, done = 0;
  for (const auto& r : ranges) {
    total += (r.tokens - options.sinks + options.block - 1) / options.block;
    if (shows_attention(dump)) total += codec.shape().layers.size();
  }
  Evaluation evaluation(codec, dump, options, embeddings);
  for (const auto& range : ranges) {
    auto added =
        evaluation.add(range, [&] { return progress.step("evaluate " + name, done++, total); });
    if (!added.ok() && added.error().kind != ErrorKind::interrupted) {
      return within(name, added.error());
    }
    KVS_TRY(added);
  }
  return evaluation.finish();
}

}  // namespace kvsplice::evaluate
