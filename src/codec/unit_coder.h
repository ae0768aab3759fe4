// One unit's pipeline, and the one way through it: forth to bytes, back to rows, or both.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "codec/pipeline.h"
#include "codec/stage.h"
#include "codec/unit.h"

namespace kvsplice::codec {

class UnitCoder {
 public:
  // Its stages exist, and have loaded nothing yet.
  static Result<UnitCoder> create(Unit unit, std::shared_ptr<const Pipeline> pipeline);

  const Unit& unit() const { return unit_; }
  const Pipeline& pipeline() const { return *pipeline_; }
  const std::vector<std::unique_ptr<Stage>>& stages() const { return stages_; }

  size_t state_bytes() const;  // of what its stages have learnt, as it is saved

  // The error of a stage, with the unit and the stage before it.
  Error within(size_t stage, const Error& error) const;

  // What stage `s` has learnt; stages load in order.
  Result<> load(size_t s, const State& state);

  // The same, but for what stage `s` has learnt.
  Result<UnitCoder> with(size_t s, const State& state) const;

  // The payload of rows [n x width]. In a closed loop `made`, which is not null then, becomes what
  // the decoder will make of it.
  Result<Bytes> encode(Matrix<float> rows, CodeContext context, Matrix<float>* made) const;
  // `count` rows. The payload is hostile.
  Result<Matrix<float>> decode(ByteSpan payload, size_t count, CodeContext context) const;
  // What decode makes of encode's payload, without the bytes. `codes`, if not null, become the
  // integers an entropy coder would see; they stay empty if no stage quantises.
  Result<Matrix<float>> roundtrip(Matrix<float> rows, CodeContext context,
                                  Matrix<int32_t>* codes) const;

  // Rows on their way through the stages, one by one: for fitting, where the stages behind are
  // still to learn. `loop`: they will go back at once, so stages keep what that needs.
  class Pass {
   public:
    Pass(const UnitCoder& coder, Matrix<float> rows, bool loop);
    const Rows& rows() const { return rows_; }
    // Through the next stage.
    Result<> forth(CodeContext& context);
    // From the last stage they went through to the first: `count` rows as decoded.
    Result<Matrix<float>> back(size_t count, CodeContext& context);

   private:
    friend class UnitCoder;
    Pass(const UnitCoder& coder, Rows rows, std::vector<Bytes> sides);

    const UnitCoder& coder_;
    Rows rows_;
    std::vector<Bytes> sides_;         // by stage
    std::vector<Matrix<float>> kept_;  // the same; empty if there is no loop
  };

 private:
  UnitCoder(Unit unit, std::shared_ptr<const Pipeline> pipeline);
  Result<Pass> all_forth(Matrix<float> rows, CodeContext& context, bool loop) const;
  Result<Bytes> payload_of(const Pass& pass, const CodeContext& context) const;
  size_t width_behind() const { return widths_.back(); }

  Unit unit_;
  std::shared_ptr<const Pipeline> pipeline_;
  std::vector<std::unique_ptr<Stage>> stages_;
  std::vector<size_t> widths_;  // columns that each stage receives; then those behind the last
};

}  // namespace kvsplice::codec
