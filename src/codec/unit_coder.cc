#include "codec/unit_coder.h"

#include <fmt/format.h>

#include "codec/pack.h"
#include "core/errors.h"

namespace kvsplice::codec {

namespace {

// What a decoder gets of values that no stage has quantised: they are packed as f16.
Result<> round_as_packed(Rows& rows) {
  if (rows.quantised) return {};
  const size_t count = rows.count(), width = rows.width();
  ByteWriter packed;
  KVS_TRY(pack(rows, packed));
  ByteReader reader(packed.bytes());
  KVS_ASSIGN(rows, unpack(reader, count, width, false));
  return {};
}

}  // namespace

UnitCoder::UnitCoder(Unit unit, std::shared_ptr<const Pipeline> pipeline)
    : unit_(std::move(unit)), pipeline_(std::move(pipeline)), widths_{unit_.width()} {}

Result<UnitCoder> UnitCoder::create(Unit unit, std::shared_ptr<const Pipeline> pipeline) {
  UnitCoder coder(std::move(unit), std::move(pipeline));
  const Pipeline& p = *coder.pipeline_;
  for (size_t s = 0; s < p.size(); ++s) {
    KVS_ASSIGN(auto stage, p.stages[s]->make(p.text[s].params, p.versions[s]));
    coder.stages_.push_back(std::move(stage));
  }
  return coder;
}

Result<> UnitCoder::load(size_t s, const State& state) {
  KVS_TRY(stages_[s]->load(state, widths_[s]));
  widths_.resize(s + 1);
  widths_.push_back(stages_[s]->output_width(widths_[s]));
  return {};
}

Result<UnitCoder> UnitCoder::with(size_t s, const State& state) const {
  KVS_ASSIGN(UnitCoder other, create(unit_, pipeline_));
  for (size_t i = 0; i < stages_.size(); ++i) {
    KVS_TRY(other.load(i, i == s ? state : stages_[i]->save()));
  }
  return other;
}

size_t UnitCoder::state_bytes() const {
  size_t bytes = 0;
  for (const auto& stage : stages_) bytes += bytes_of(stage->save());
  return bytes;
}

Error UnitCoder::within(size_t stage, const Error& error) const {
  return kvsplice::within(fmt::format("{}, {}", name_of(unit_), pipeline_->text[stage].name),
                          error);
}

UnitCoder::Pass::Pass(const UnitCoder& coder, Matrix<float> rows, bool loop)
    : coder_(coder), rows_{std::move(rows), {}, false, 0}, kept_(loop ? coder.stages_.size() : 0) {}

UnitCoder::Pass::Pass(const UnitCoder& coder, Rows rows, std::vector<Bytes> sides)
    : coder_(coder), rows_(std::move(rows)), sides_(std::move(sides)) {}

Result<> UnitCoder::Pass::forth(CodeContext& context) {
  const size_t s = sides_.size();
  context.kept = kept_.empty() ? nullptr : &kept_[s];
  ByteWriter side;
  const auto done = coder_.stages_[s]->encode(rows_, context, side);
  if (!done.ok()) return coder_.within(s, done.error());
  sides_.push_back(side.take());
  return {};
}

Result<Matrix<float>> UnitCoder::Pass::back(size_t count, CodeContext& context) {
  for (size_t s = sides_.size(); s-- > 0;) {
    context.kept = kept_.empty() ? nullptr : &kept_[s];
    ByteReader side(sides_[s]);
    const auto done = coder_.stages_[s]->decode(rows_, count, context, side);
    if (!done.ok()) return coder_.within(s, done.error());
    if (side.left() > 0) {
      return coder_.within(
          s, {ErrorKind::format, fmt::format("{} bytes of side data too many", side.left())});
    }
  }
  if (rows_.quantised || rows_.values.rows() != count ||
      rows_.values.cols() != coder_.unit_.width()) {
    return Error{ErrorKind::format, name_of(coder_.unit_) + ": decoded to another shape"};
  }
  return std::move(rows_.values);
}

Result<UnitCoder::Pass> UnitCoder::all_forth(Matrix<float> rows, CodeContext& context,
                                             bool loop) const {
  Pass pass(*this, std::move(rows), loop);
  for (size_t s = 0; s < pipeline_->before_entropy(); ++s) KVS_TRY(pass.forth(context));
  return pass;
}

// The lengths and bytes of all side data, then the packed rows.
Result<Bytes> UnitCoder::payload_of(const Pass& pass, const CodeContext& context) const {
  ByteWriter payload;
  for (const Bytes& side : pass.sides_) {
    payload.put_varint(side.size());
    payload.put_bytes(side);
  }
  Rows left = pass.rows();
  if (pipeline_->entropy_coded) {
    ByteWriter coded;
    const auto done = stages_.back()->encode(left, context, coded);
    if (!done.ok()) return within(stages_.size() - 1, done.error());
    payload.put_varint(coded.size());
    payload.put_bytes(coded.bytes());
  }
  KVS_TRY(pack(left, payload));
  return payload.take();
}

Result<Bytes> UnitCoder::encode(Matrix<float> rows, CodeContext context,
                                Matrix<float>* made) const {
  const size_t count = rows.rows();
  KVS_ASSIGN(Pass pass, all_forth(std::move(rows), context, made != nullptr));
  KVS_ASSIGN(Bytes payload, payload_of(pass, context));
  if (made == nullptr) return payload;
  KVS_TRY(round_as_packed(pass.rows_));
  KVS_ASSIGN(*made, pass.back(count, context));
  return payload;
}

Result<Matrix<float>> UnitCoder::decode(ByteSpan payload, size_t count, CodeContext context) const {
  ByteReader in(payload);
  std::vector<Bytes> sides;
  for (size_t s = 0; s < stages_.size(); ++s) {
    KVS_ASSIGN(const uint64_t size, in.get_varint());
    KVS_ASSIGN(const ByteSpan side, in.take(size));
    sides.emplace_back(side.begin(), side.end());
  }
  const bool quantised = pipeline_->quantises && !pipeline_->entropy_coded;
  auto rows = unpack(in, count, width_behind(), quantised);
  if (!rows.ok()) return kvsplice::within(name_of(unit_), rows.error());
  if (in.left() > 0) {
    return Error{ErrorKind::format,
                 fmt::format("{}: {} bytes too many", name_of(unit_), in.left())};
  }
  return Pass(*this, std::move(*rows), std::move(sides)).back(count, context);
}

Result<Matrix<float>> UnitCoder::roundtrip(Matrix<float> rows, CodeContext context,
                                           Matrix<int32_t>* codes) const {
  const size_t count = rows.rows();
  KVS_ASSIGN(Pass pass, all_forth(std::move(rows), context, true));
  if (codes != nullptr && pass.rows_.quantised) *codes = pass.rows_.codes;
  KVS_TRY(round_as_packed(pass.rows_));
  return pass.back(count, context);
}

}  // namespace kvsplice::codec
