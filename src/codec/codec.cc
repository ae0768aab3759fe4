#include "codec/codec.h"

#include <fmt/format.h>

#include <algorithm>

#include "codec/block_rows.h"
#include "codec/pack.h"
#include "core/memory.h"
#include "core/threads.h"
#include "linalg/linalg.h"

namespace kvsplice::codec {

size_t Unit::width() const {
  size_t sum = 0;
  for (int d : head_dims) sum += d;
  return sum;
}

size_t bytes_of(Storage storage) {
  switch (storage) {
    case Storage::f32:
      return 4;
    case Storage::f16:
      return 2;
    case Storage::i8:
      return 1;
  }
  return 0;
}

namespace {

Unit layer_unit(const ModelShape& shape, Kind kind, int layer) {
  const LayerShape& l = shape.layers[layer];
  Unit unit{kind, layer, std::vector<int>(l.kv_heads, l.heads_dim(kind)), {}};
  if (kind == Kind::key) unit.rope = l.rope;
  return unit;
}

Unit joined_unit(const ModelShape& shape, Kind kind) {
  Unit all{kind, -1, {}, {}};
  for (size_t l = 0; l < shape.layers.size(); ++l) {
    const Unit one = layer_unit(shape, kind, static_cast<int>(l));
    all.head_dims.insert(all.head_dims.end(), one.head_dims.begin(), one.head_dims.end());
  }
  return all;
}

StageInfo::Traits merged_traits(const PipelineText& pipeline) {
  StageInfo::Traits all;
  for (const auto& stage : pipeline) {
    const auto t = find_stage(stage.name)->traits(stage.params);
    all.joins_layers |= t.joins_layers;
    all.history = std::max(all.history, t.history);
    all.embeddings |= t.embeddings;
    all.attention |= t.attention;
    all.information |= t.information;
    all.whole_block |= t.whole_block;
    all.cells |= t.cells;
    all.reach = std::max(all.reach, t.reach);
  }
  return all;
}

Result<Codec::UnitPipeline> make_unit(Unit unit, const PipelineText& pipeline) {
  Codec::UnitPipeline made{std::move(unit), {}, merged_traits(pipeline).history};
  for (const auto& stage : pipeline) {
    KVS_ASSIGN(auto instance, find_stage(stage.name)->make(stage.params));
    made.stages.push_back(std::move(instance));
  }
  return made;
}

bool is_entropy(const StageText& stage) { return find_stage(stage.name)->group == "entropy"; }

bool ends_quantised(const PipelineText& pipeline) {
  return std::any_of(pipeline.begin(), pipeline.end(),
                     [](const StageText& s) { return find_stage(s.name)->group == "quantise"; });
}

std::string unit_name(const Unit& unit) {
  return unit.layer < 0 ? fmt::format("all layers' {}s", name(unit.kind))
                        : fmt::format("layer {} {}s", unit.layer, name(unit.kind));
}

Error within(const std::string& where, const Error& error) {
  return {error.kind, where + ": " + error.message};
}

// Whether some units look at others' reconstructions.
bool in_order(const std::vector<Codec::UnitPipeline>& units) {
  return std::any_of(units.begin(), units.end(), [](const auto& u) { return u.history > 0; });
}

// Runs `body` for every unit, in order or on all threads.
Result<> for_units(const std::vector<Codec::UnitPipeline>& units,
                   const std::function<Result<>(size_t)>& body) {
  if (!in_order(units)) return parallel_try(units.size(), body);
  for (size_t i = 0; i < units.size(); ++i) KVS_TRY(body(i));
  return {};
}

// The forward half of a pipeline, up to its entropy coder.
Result<std::vector<Bytes>> run_encode(const Codec::UnitPipeline& unit, const PipelineText& text,
                                      Rows& rows, const Context& context) {
  std::vector<Bytes> sides;
  for (size_t s = 0; s < unit.stages.size(); ++s) {
    if (is_entropy(text[s])) break;
    ByteWriter side;
    if (auto done = unit.stages[s]->encode(rows, context, side); !done.ok()) {
      return within(fmt::format("{}, {}", context.where, text[s].name), done.error());
    }
    sides.push_back(side.take());
  }
  return sides;
}

// What a decoder will get of values that no stage has quantised: they are packed as f16.
Result<> round_as_packed(Rows& rows) {
  if (rows.quantised) return {};
  const size_t count = rows.count(), width = rows.width();
  ByteWriter packed;
  KVS_TRY(pack(rows, packed));
  ByteReader reader(packed.bytes());
  KVS_ASSIGN(rows, unpack(reader, count, width, false));
  return {};
}

// The backward half, from the last of `sides` to the first.
Result<> run_decode(const Codec::UnitPipeline& unit, const PipelineText& text,
                    const std::vector<ByteSpan>& sides, Rows& rows, size_t count,
                    const Context& context) {
  for (size_t s = sides.size(); s-- > 0;) {
    ByteReader side(sides[s]);
    if (auto done = unit.stages[s]->decode(rows, count, context, side); !done.ok()) {
      return within(fmt::format("{}, {}", context.where, text[s].name), done.error());
    }
    if (side.left() > 0) {
      return Error{ErrorKind::format, fmt::format("{}, {}: {} bytes of side data too many",
                                                  context.where, text[s].name, side.left())};
    }
  }
  if (rows.quantised || rows.values.rows() != count || rows.values.cols() != unit.unit.width()) {
    return Error{ErrorKind::format, context.where + ": decoded to another shape"};
  }
  return {};
}

// The embedding rows stages may ask for; none if no stage does.
Result<Matrix<float>> embed(const Codec& codec, const Embeddings* embeddings,
                            std::span<const int32_t> tokens) {
  if (!codec.needs_embeddings()) return Matrix<float>();
  if (embeddings == nullptr) {
    return Error{ErrorKind::usage, "this codec reads token embeddings: name the model (-m)"};
  }
  Matrix<float> rows(tokens.size(), static_cast<size_t>(embeddings->dim));
  KVS_TRY(embeddings->lookup(tokens, rows));
  return rows;
}

using Memory = std::map<std::string, std::shared_ptr<void>>;

// What surrounds a unit's rows when they are coded; `made` holds the reconstructions so far.
Context context_of(const Codec::UnitPipeline& unit, const ModelShape& shape, const CacheBlock& made,
                   std::span<const int32_t> tokens, std::span<const int32_t> positions,
                   const Embeddings* embeddings, const Matrix<float>& embedded, Memory* memory) {
  Context context{
      unit.unit,  tokens, positions,           history_of(unit.unit, unit.history, shape, made),
      embeddings, {},     unit_name(unit.unit)};
  context.embedded = embedded;
  context.shape = &shape;
  context.memory = memory;
  return context;
}

size_t width_behind(const Codec::UnitPipeline& unit) {
  size_t width = unit.unit.width();
  for (const auto& stage : unit.stages) width = stage->output_width(width);
  return width;
}

}  // namespace

Result<Attention> RowSource::read_attention(int) const {
  return Error{ErrorKind::usage, "these calibration rows come without queries"};
}

Result<Information> RowSource::read_information(Kind, int) const {
  return Error{ErrorKind::usage,
               "what errors do to the model is not known of these calibration rows: "
               "'kvsplice calibrate' finds it out"};
}

Result<Codec> Codec::create(const CodecText& text, const ModelShape& shape) {
  const size_t stages = shape.layers.size() * (text.key.size() + text.value.size());
  if (stages > limits::kStagesOfUnits) {
    return Error{ErrorKind::usage,
                 fmt::format("{} stages for the keys and values of {} layers; at most {}", stages,
                             shape.layers.size(), limits::kStagesOfUnits)};
  }
  Codec codec;
  codec.text_ = text;
  codec.shape_ = shape;
  const auto key = merged_traits(text.key), value = merged_traits(text.value);
  if (std::max(key.history, value.history) > 0 && (key.joins_layers || value.joins_layers)) {
    return Error{ErrorKind::usage,
                 "a stage that predicts from other layers cannot stand beside one that joins them"};
  }
  if (key.cells != value.cells || (key.cells && (key.joins_layers || value.joins_layers))) {
    return Error{ErrorKind::usage,
                 "a stage of cells is needed for both keys and values, and for single layers"};
  }
  for (Kind kind : {Kind::key, Kind::value}) {
    if (!merged_traits(text.of(kind)).joins_layers) continue;
    KVS_ASSIGN(UnitPipeline unit, make_unit(joined_unit(shape, kind), text.of(kind)));
    codec.units_.push_back(std::move(unit));
  }
  for (size_t l = 0; l < shape.layers.size(); ++l) {
    for (Kind kind : {Kind::key, Kind::value}) {
      if (merged_traits(text.of(kind)).joins_layers) continue;
      KVS_ASSIGN(UnitPipeline unit,
                 make_unit(layer_unit(shape, kind, static_cast<int>(l)), text.of(kind)));
      codec.units_.push_back(std::move(unit));
    }
  }
  return codec;
}

Result<> Codec::fit(const RowSource& source, const Embeddings* embeddings, const Progress& progress,
                    std::span<const double> step_scales) {
  return within_memory([&]() -> Result<> {
    KVS_ASSIGN(Codec fresh, create(text_, shape_));
    KVS_TRY(fresh.fit_units(source, embeddings, progress, step_scales));
    *this = std::move(fresh);
    return {};
  });
}

Result<> Codec::fit_units(const RowSource& source, const Embeddings* embeddings,
                          const Progress& progress, std::span<const double> step_scales) {
  calibration_tokens_ = source.tokens().size();
  if (calibration_tokens_ == 0) {
    return Error{ErrorKind::numeric, "no calibration tokens: texts must be longer than the sinks"};
  }
  KVS_ASSIGN(const Matrix<float> embedded, embed(*this, embeddings, source.tokens()));
  Memory memory;
  int depth = 0;
  for (const auto& u : units_) depth = std::max(depth, u.history);
  // Only the newest layers' reconstructions are kept.
  CacheBlock made = empty_block(shape_, {}, {});
  Attention attention;  // of the layer at hand, for its keys and its values
  int attended = -1;
  for (size_t i = 0; i < units_.size(); ++i) {
    UnitPipeline& unit = units_[i];
    const PipelineText& text = text_.of(unit.unit.kind);
    const std::string where = unit_name(unit.unit);
    KVS_TRY(progress.step("fit " + where, i, units_.size()));
    const StageInfo::Traits traits = merged_traits(text);
    if (traits.attention && unit.unit.layer != attended) {
      KVS_ASSIGN(attention, source.read_attention(unit.unit.layer));
      attended = unit.unit.layer;
    }
    Information information;
    if (traits.information) {
      KVS_ASSIGN(information, source.read_information(unit.unit.kind, unit.unit.layer));
    }
    KVS_ASSIGN(Matrix<float> values, read_unit(source, unit.unit, shape_));
    KVS_TRY(check_finite(values, where));
    if (of_cells()) {
      turn_to_cells(values, unit.unit, source.positions());
      KVS_TRY(check_finite(values, where));
    }
    std::map<const Stage*, Matrix<float>> predictions;
    const Context context{unit.unit,
                          source.tokens(),
                          source.positions(),
                          history_of(unit.unit, unit.history, shape_, made),
                          embeddings,
                          progress,
                          where,
                          rms_about_mean(values),
                          step_scales.empty() ? 1 : step_scales[i],
                          embedded,
                          &memory,
                          &predictions,
                          &shape_,
                          traits.attention ? &attention : nullptr,
                          traits.information ? &information : nullptr};
    Rows rows{std::move(values), {}, false, 0};
    std::vector<Bytes> sides;
    const size_t count = rows.values.rows();
    for (size_t s = 0; s < unit.stages.size(); ++s) {
      ByteWriter side;
      auto fitted = unit.stages[s]->fit(rows, context);
      const bool last = s + 1 == unit.stages.size() && depth == 0;
      if (fitted.ok() && !last && !is_entropy(text[s])) {
        fitted = unit.stages[s]->encode(rows, context, side);
      }
      if (!fitted.ok()) return within(fmt::format("{}, {}", where, text[s].name), fitted.error());
      if (!is_entropy(text[s])) sides.push_back(side.take());
    }
    if (depth == 0) continue;
    const std::vector<ByteSpan> views(sides.begin(), sides.end());
    KVS_TRY(run_decode(unit, text, views, rows, count, context));
    made.of(unit.unit.kind)[unit.unit.layer] = std::move(rows.values);
    if (unit.unit.kind == Kind::value) drop_unread(unit.unit.layer, depth, shape_, made);
  }
  return {};
}

Result<std::vector<bool>> Codec::units_left_out(bool lacking) const {
  std::vector<bool> left_out(units_.size());
  for (size_t i = 0; lacking && i < units_.size(); ++i) {
    if (units_[i].unit.layer < 0) {
      return Error{ErrorKind::unsupported,
                   "layers with a sliding window cannot be left out where a stage joins layers"};
    }
    left_out[i] = shape_.layers[units_[i].unit.layer].window > 0;
  }
  return left_out;
}

Result<Bytes> Codec::encode(const CacheBlock& block, const Embeddings* embeddings) const {
  if (!of_cells()) return encode_cells(block, embeddings);
  return within_memory([&]() -> Result<Bytes> {
    KVS_ASSIGN(const CacheBlock cells, to_cells(block));
    return encode_block(cells, embeddings);
  });
}

Result<Bytes> Codec::encode_cells(const CacheBlock& block, const Embeddings* embeddings) const {
  return within_memory([&] { return encode_block(block, embeddings); });
}

Result<Bytes> Codec::encode_block(const CacheBlock& block, const Embeddings* embeddings) const {
  KVS_TRY(check_block(block, shape_));
  KVS_ASSIGN(const Matrix<float> embedded, embed(*this, embeddings, block.tokens));
  KVS_ASSIGN(const std::vector<bool> left_out, units_left_out(lacks_windows(block, shape_)));
  CacheBlock made = empty_block(shape_, {}, {});
  Memory memory;
  std::vector<Bytes> payloads(units_.size());
  const bool closed_loop = in_order(units_);
  KVS_TRY(for_units(units_, [&](size_t i) -> Result<> {
    if (left_out[i]) return {};
    const UnitPipeline& unit = units_[i];
    const PipelineText& text = text_.of(unit.unit.kind);
    Context context = context_of(unit, shape_, made, block.tokens, block.positions, embeddings,
                                 embedded, in_order(units_) ? &memory : nullptr);
    std::map<const Stage*, Matrix<float>> predictions;
    context.predictions = &predictions;
    Rows rows{gather(block, unit.unit), {}, false, 0};
    KVS_ASSIGN(std::vector<Bytes> sides, run_encode(unit, text, rows, context));
    ByteWriter payload;
    for (const Bytes& side : sides) {
      payload.put_varint(side.size());
      payload.put_bytes(side);
    }
    Rows left = closed_loop ? rows : std::move(rows);
    if (sides.size() < unit.stages.size()) {
      ByteWriter coded;
      KVS_TRY(unit.stages.back()->encode(left, context, coded));
      payload.put_varint(coded.size());
      payload.put_bytes(coded.bytes());
    }
    KVS_TRY(pack(left, payload));
    payloads[i] = payload.take();
    if (!closed_loop) return {};
    KVS_TRY(round_as_packed(rows));
    const std::vector<ByteSpan> views(sides.begin(), sides.end());
    KVS_TRY(run_decode(unit, text, views, rows, block.count(), context));
    made.of(unit.unit.kind)[unit.unit.layer] = std::move(rows.values);
    return {};
  }));
  ByteWriter out;
  for (const Bytes& p : payloads) out.put_varint(p.size());
  for (const Bytes& p : payloads) out.put_bytes(p);
  return out.take();
}

Result<std::vector<ByteSpan>> Codec::payloads(ByteSpan bytes) const {
  ByteReader in(bytes);
  std::vector<size_t> sizes(units_.size());
  for (size_t& size : sizes) {
    KVS_ASSIGN(size, in.get_varint());
  }
  std::vector<ByteSpan> parts(units_.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    KVS_ASSIGN(parts[i], in.take(sizes[i]));
  }
  if (in.left() > 0) {
    return Error{ErrorKind::format, fmt::format("{} bytes behind the last unit", in.left())};
  }
  return parts;
}

Result<CacheBlock> Codec::decode(ByteSpan bytes, std::span<const int32_t> tokens,
                                 std::span<const int32_t> positions,
                                 const Embeddings* embeddings) const {
  KVS_ASSIGN(CacheBlock block, decode_cells(bytes, tokens, positions, embeddings));
  if (of_cells()) from_cells(block);
  return block;
}

Result<CacheBlock> Codec::decode_cells(ByteSpan bytes, std::span<const int32_t> tokens,
                                       std::span<const int32_t> positions,
                                       const Embeddings* embeddings) const {
  return within_memory([&] { return decode_block(bytes, tokens, positions, embeddings); });
}

Result<CacheBlock> Codec::decode_block(ByteSpan bytes, std::span<const int32_t> tokens,
                                       std::span<const int32_t> positions,
                                       const Embeddings* embeddings) const {
  if (tokens.size() != positions.size()) {
    return Error{ErrorKind::usage,
                 fmt::format("{} tokens but {} positions", tokens.size(), positions.size())};
  }
  KVS_ASSIGN(const std::vector<ByteSpan> payloads, this->payloads(bytes));
  KVS_ASSIGN(const Matrix<float> embedded, embed(*this, embeddings, tokens));
  const bool lacking = std::any_of(payloads.begin(), payloads.end(),
                                   [](ByteSpan payload) { return payload.empty(); });
  KVS_ASSIGN(const std::vector<bool> left_out, units_left_out(lacking));
  CacheBlock block = empty_block(shape_, tokens, positions);
  Memory memory;
  KVS_TRY(for_units(units_, [&](size_t i) -> Result<> {
    const UnitPipeline& unit = units_[i];
    if (left_out[i] != payloads[i].empty()) {
      return Error{
          ErrorKind::format,
          fmt::format("{}: {} bytes in a block {} layers with a sliding window",
                      unit_name(unit.unit), payloads[i].size(), lacking ? "without" : "with")};
    }
    if (left_out[i]) {
      block.of(unit.unit.kind)[unit.unit.layer] = Matrix<float>(0, unit.unit.width());
      return {};
    }
    const PipelineText& text = text_.of(unit.unit.kind);
    const Context context = context_of(unit, shape_, block, tokens, positions, embeddings, embedded,
                                       in_order(units_) ? &memory : nullptr);
    ByteReader payload(payloads[i]);
    std::vector<ByteSpan> sides(unit.stages.size());
    for (ByteSpan& side : sides) {
      KVS_ASSIGN(const uint64_t size, payload.get_varint());
      KVS_ASSIGN(side, payload.take(size));
    }
    const bool quantised = ends_quantised(text) && !is_entropy(text.back());
    auto rows = unpack(payload, tokens.size(), width_behind(unit), quantised);
    if (!rows.ok()) return within(context.where, rows.error());
    if (payload.left() > 0) {
      return Error{ErrorKind::format,
                   fmt::format("{}: {} bytes too many", context.where, payload.left())};
    }
    KVS_TRY(run_decode(unit, text, sides, *rows, tokens.size(), context));
    scatter_to(std::move(rows->values), unit.unit, shape_, block);
    return {};
  }));
  return block;
}

Result<CacheBlock> Codec::to_cells(const CacheBlock& block) const {
  KVS_TRY(check_block(block, shape_));
  CacheBlock cells = block;
  for (const UnitPipeline& unit : units_) {
    const Unit& u = unit.unit;
    turn_to_cells(cells.of(u.kind)[u.layer], u, block.positions);
  }
  return cells;
}

void Codec::from_cells(CacheBlock& block) const {
  for (const UnitPipeline& unit : units_) {
    const Unit& u = unit.unit;
    Matrix<float>& rows = block.of(u.kind)[u.layer];
    if (rows.rows() > 0 && u.rope.rotates()) u.rope.undo(rows, u.head_dims[0], block.positions);
  }
}

Result<CacheBlock> Codec::roundtrip(const CacheBlock& given, const Embeddings* embeddings,
                                    EntropyMeter* meter) const {
  return within_memory([&] { return code_and_decode(given, embeddings, meter); });
}

Result<CacheBlock> Codec::code_and_decode(const CacheBlock& given, const Embeddings* embeddings,
                                          EntropyMeter* meter) const {
  KVS_TRY(check_block(given, shape_));
  CacheBlock cells;
  if (of_cells()) {
    KVS_ASSIGN(cells, to_cells(given));
  }
  const CacheBlock& block = of_cells() ? cells : given;
  KVS_ASSIGN(const Matrix<float> embedded, embed(*this, embeddings, block.tokens));
  KVS_ASSIGN(const std::vector<bool> left_out, units_left_out(lacks_windows(block, shape_)));
  CacheBlock made = empty_block(shape_, block.tokens, block.positions);
  Memory memory;
  std::vector<Matrix<int32_t>> codes(units_.size());
  KVS_TRY(for_units(units_, [&](size_t i) -> Result<> {
    const UnitPipeline& unit = units_[i];
    if (left_out[i]) {
      made.of(unit.unit.kind)[unit.unit.layer] = Matrix<float>(0, unit.unit.width());
      return {};
    }
    const PipelineText& text = text_.of(unit.unit.kind);
    Context context = context_of(unit, shape_, made, block.tokens, block.positions, embeddings,
                                 embedded, in_order(units_) ? &memory : nullptr);
    std::map<const Stage*, Matrix<float>> predictions;
    context.predictions = &predictions;
    Rows rows{gather(block, unit.unit), {}, false, 0};
    KVS_ASSIGN(const std::vector<Bytes> sides, run_encode(unit, text, rows, context));
    if (meter != nullptr && rows.quantised) codes[i] = rows.codes;
    KVS_TRY(round_as_packed(rows));
    const std::vector<ByteSpan> views(sides.begin(), sides.end());
    KVS_TRY(run_decode(unit, text, views, rows, block.count(), context));
    scatter_to(std::move(rows.values), unit.unit, shape_, made);
    return {};
  }));
  for (size_t i = 0; meter != nullptr && i < units_.size(); ++i) {
    if (!codes[i].empty()) meter->add(units_[i].unit, codes[i]);
  }
  if (of_cells()) from_cells(made);
  return made;
}

size_t Codec::state_bytes() const {
  size_t bytes = 0;
  for (const auto& unit : units_) {
    for (const auto& stage : unit.stages) {
      for (const auto& [name, array] : stage->save()) {
        bytes += array.values.size() * bytes_of(array.storage);
      }
    }
  }
  return bytes;
}

size_t Codec::reach() const {
  return std::max(merged_traits(text_.key).reach, merged_traits(text_.value).reach);
}

bool Codec::whole_block() const {
  return merged_traits(text_.key).whole_block || merged_traits(text_.value).whole_block;
}

bool Codec::of_cells() const {
  return merged_traits(text_.key).cells || merged_traits(text_.value).cells;
}

bool Codec::needs_attention() const {
  return merged_traits(text_.key).attention || merged_traits(text_.value).attention;
}

bool Codec::needs_information() const {
  return merged_traits(text_.key).information || merged_traits(text_.value).information;
}

bool Codec::needs_embeddings() const {
  return merged_traits(text_.key).embeddings || merged_traits(text_.value).embeddings;
}

}  // namespace kvsplice::codec
