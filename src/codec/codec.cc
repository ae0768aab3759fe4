#include "codec/codec.h"

#include <fmt/format.h>

#include <algorithm>

#include "codec/block_coding.h"
#include "codec/block_format.h"
#include "core/memory.h"
#include "core/threads.h"

namespace kvsplice::codec {

Result<std::vector<UnitCoder>> Codec::make_units(const CodecText& text, const ModelShape& shape,
                                                 std::span<const int32_t> versions) {
  const size_t keys = versions.empty() ? 0 : text.key.size();
  const auto key = std::make_shared<const Pipeline>(pipeline_of(text.key, versions.first(keys)));
  const auto value =
      std::make_shared<const Pipeline>(pipeline_of(text.value, versions.subspan(keys)));
  KVS_TRY(check_query_heads(shape));  // or nobody could load the codec
  KVS_ASSIGN(std::vector<Unit> units, units_of(*key, *value, shape));
  std::vector<UnitCoder> coders;
  for (Unit& unit : units) {
    const auto& pipeline = unit.kind == Kind::key ? key : value;
    KVS_ASSIGN(UnitCoder coder, UnitCoder::create(std::move(unit), pipeline));
    coders.push_back(std::move(coder));
  }
  return coders;
}

Result<Codec> Codec::create(const CodecText& text, const ModelShape& shape) {
  KVS_ASSIGN(std::vector<UnitCoder> units, make_units(text, shape));
  for (UnitCoder& unit : units) {
    for (size_t s = 0; s < unit.pipeline().size(); ++s) {
      if (unit.load(s, {}).ok()) continue;
      return Error{ErrorKind::usage, fmt::format("'{}' learns from calibration rows: fit the codec",
                                                 unit.pipeline().text[s].name)};
    }
  }
  return Codec(text, shape, std::move(units), 0);
}

Codec::Codec(CodecText text, ModelShape shape, std::vector<UnitCoder> fitted,
             size_t calibration_tokens, EmbeddingBasis basis)
    : text_(std::move(text)),
      shape_(std::move(shape)),
      traits_(traits_of(text_)),
      units_(std::move(fitted)),
      calibration_tokens_(calibration_tokens),
      basis_(std::move(basis)) {}

Result<std::vector<bool>> Codec::units_left_out(bool lacking) const {
  std::vector<bool> left_out(units_.size());
  for (size_t i = 0; lacking && i < units_.size(); ++i) {
    const int layer = units_[i].unit().layer;
    if (layer < 0) {
      return Error{ErrorKind::unsupported,
                   "layers with a sliding window cannot be left out where a stage joins layers"};
    }
    left_out[i] = shape_.layers[static_cast<size_t>(layer)].window > 0;
  }
  return left_out;
}

// Units go in order where some read what was made of others, on all threads elsewhere.
Result<> Codec::for_units(std::span<const int32_t> tokens, std::span<const int32_t> positions,
                          const Embeddings* embeddings, const std::vector<bool>& left_out,
                          const std::function<Result<>(size_t, BlockCoding&)>& body) const {
  if (tokens.size() != positions.size()) {
    return Error{ErrorKind::usage,
                 fmt::format("{} tokens but {} positions", tokens.size(), positions.size())};
  }
  KVS_ASSIGN(BlockCoding coding,
             BlockCoding::begin(shape_, traits_, tokens, positions, embeddings));
  KVS_TRY(coding.project(basis_));
  const auto one = [&](size_t i) { return left_out[i] ? Result<>() : body(i, coding); };
  if (!coding.closed_loop()) return parallel_try(units_.size(), one);
  for (size_t i = 0; i < units_.size(); ++i) KVS_TRY(one(i));
  return {};
}

Result<Bytes> Codec::encode(const KvView& block, const Embeddings* embeddings) const {
  return within_memory([&]() -> Result<Bytes> {
    KVS_TRY(check_shape(block, shape_));
    KVS_ASSIGN(const std::vector<bool> left_out, units_left_out(kvsplice::lacks_windows(block)));
    std::vector<Bytes> payloads(units_.size());
    const auto encode_unit = [&](size_t i, BlockCoding& coding) -> Result<> {
      const UnitCoder& unit = units_[i];
      KVS_ASSIGN(Matrix<float> rows, gather(block, unit.unit(), shape_, of_cells()));
      Matrix<float> made;
      KVS_ASSIGN(payloads[i], unit.encode(std::move(rows), coding.context(unit),
                                          coding.closed_loop() ? &made : nullptr));
      coding.keep(unit.unit(), std::move(made));
      return {};
    };
    KVS_TRY(for_units(block.tokens, block.positions, embeddings, left_out, encode_unit));
    return join_payloads(payloads);
  });
}

Result<std::vector<ByteSpan>> Codec::payloads(ByteSpan bytes) const {
  return split_payloads(bytes, units_.size());
}

namespace {

bool some_are_empty(const std::vector<ByteSpan>& parts) {
  return std::any_of(parts.begin(), parts.end(), [](ByteSpan part) { return part.empty(); });
}

}  // namespace

Result<bool> Codec::lacks_windows(ByteSpan bytes) const {
  KVS_ASSIGN(const std::vector<ByteSpan> parts, payloads(bytes));
  return some_are_empty(parts);
}

// Gives a unit's rows to the sink; they stay as they are.
Result<> Codec::hand_on(const Unit& unit, Matrix<float>& rows, std::span<const int32_t> positions,
                        Space space, const KvSink& sink) const {
  const Space own = of_cells() ? Space::cached : Space::raw;
  return for_layers(unit, shape_, rows, [&](size_t l, MatrixView<const float> part) -> Result<> {
    if (unit.kind == Kind::value || own == space || !shape_.layers[l].rope.rotates()) {
      return sink(unit.kind, l, part);
    }
    Matrix<float> turned = copy(part);
    turn_keys(turned, shape_.layers[l], positions, own, space);
    return sink(unit.kind, l, turned);
  });
}

Result<> Codec::decode(ByteSpan bytes, std::span<const int32_t> tokens,
                       std::span<const int32_t> positions, const Embeddings* embeddings,
                       Space space, const KvSink& sink) const {
  return within_memory([&]() -> Result<> {
    KVS_ASSIGN(const std::vector<ByteSpan> parts, payloads(bytes));
    const bool lacking = some_are_empty(parts);
    KVS_ASSIGN(const std::vector<bool> left_out, units_left_out(lacking));
    for (size_t i = 0; i < units_.size(); ++i) {
      if (left_out[i] == parts[i].empty()) continue;
      return Error{
          ErrorKind::format,
          fmt::format("{}: {} bytes in a block {} layers with a sliding window",
                      name_of(units_[i].unit()), parts[i].size(), lacking ? "without" : "with")};
    }
    const auto decode_unit = [&](size_t i, BlockCoding& coding) -> Result<> {
      const UnitCoder& unit = units_[i];
      KVS_ASSIGN(Matrix<float> rows, unit.decode(parts[i], tokens.size(), coding.context(unit)));
      KVS_TRY(hand_on(unit.unit(), rows, positions, space, sink));
      coding.keep(unit.unit(), std::move(rows));
      return {};
    };
    return for_units(tokens, positions, embeddings, left_out, decode_unit);
  });
}

Result<KvBlock<float>> Codec::decode(ByteSpan bytes, std::span<const int32_t> tokens,
                                     std::span<const int32_t> positions,
                                     const Embeddings* embeddings, Space space) const {
  return within_memory([&]() -> Result<KvBlock<float>> {
    KvBlock<float> block = empty_block(shape_, tokens, positions, space);
    KVS_TRY(decode(bytes, tokens, positions, embeddings, space, rows_into(block)));
    KVS_ASSIGN(const bool lacking, lacks_windows(bytes));
    if (lacking) block.absent = tokens.size();
    return block;
  });
}

Result<KvBlock<float>> Codec::roundtrip(const KvView& block, const Embeddings* embeddings,
                                        EntropyMeter* meter) const {
  return within_memory([&]() -> Result<KvBlock<float>> {
    KVS_TRY(check_shape(block, shape_));
    KVS_ASSIGN(const std::vector<bool> left_out, units_left_out(kvsplice::lacks_windows(block)));
    KvBlock<float> made = empty_block(shape_, block.tokens, block.positions, Space::raw);
    made.absent = block.absent;
    const KvSink sink = rows_into(made);
    std::vector<Matrix<int32_t>> codes(units_.size());
    const auto code_unit = [&](size_t i, BlockCoding& coding) -> Result<> {
      const UnitCoder& unit = units_[i];
      KVS_ASSIGN(Matrix<float> rows, gather(block, unit.unit(), shape_, of_cells()));
      KVS_ASSIGN(Matrix<float> back, unit.roundtrip(std::move(rows), coding.context(unit),
                                                    meter != nullptr ? &codes[i] : nullptr));
      KVS_TRY(hand_on(unit.unit(), back, block.positions, Space::raw, sink));
      coding.keep(unit.unit(), std::move(back));
      return {};
    };
    KVS_TRY(for_units(block.tokens, block.positions, embeddings, left_out, code_unit));
    for (size_t i = 0; meter != nullptr && i < units_.size(); ++i) {
      if (!codes[i].empty()) meter->add(units_[i].unit(), codes[i]);
    }
    return made;
  });
}

}  // namespace kvsplice::codec
