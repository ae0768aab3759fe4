// Applies the model's rotary embedding, so that later stages see keys as the cache stores them.
#include <fmt/format.h>

#include "codec/checks.h"
#include "codec/make_stage.h"

namespace kvsplice::codec {

namespace {

struct Params {
  int context = 8192;

  template <class V>
  void visit(V&& v) {
    v("context", context,
      "tokens of contexts to come: fits see texts anywhere in so many; 0: where they stood",
      Range{0, 1 << 24});
  }
};

Result<> check_unit(const Unit& unit, size_t width) {
  if (unit.kind != Kind::key) {
    return Error{ErrorKind::usage,
                 "rotate works on keys; values are not rotated ('k: rotate | ...')"};
  }
  if (unit.layer < 0) {
    return Error{
        ErrorKind::usage,
        "rotate works on one layer's keys; it cannot stand beside a stage that joins layers"};
  }
  return check_heads(unit, width);
}

class Rotate : public Stage {
 public:
  explicit Rotate(const Params&) {}

  Result<> encode(Rows& rows, const CodeContext& context, ByteWriter&) const override {
    KVS_TRY(check_unit(context.unit, rows.values.cols()));
    context.unit.rope.apply(rows.values, context.unit.head_dims[0], context.positions);
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const CodeContext& context,
                  ByteReader&) const override {
    KVS_TRY(check_unit(context.unit, rows.values.cols()));
    KVS_TRY(check_values(rows, count, context.unit.width()));
    context.unit.rope.undo(rows.values, context.unit.head_dims[0], context.positions);
    return {};
  }

  Result<> load(const State&, size_t) override { return {}; }
};

}  // namespace

StageInfo rotate_stage() {
  StageInfo info;
  info.name = "rotate";
  info.group = "predict";
  info.summary = "Rotates keys by their positions (RoPE), so that later stages see cached keys.";
  info.params = describe<Params>();
  info.make = stage_maker<Rotate, Params>("rotate");
  info.traits = [](const KeyValues& pairs) {
    StageInfo::Traits traits;
    if (const auto params = parse_params<Params>("rotate", pairs); params.ok()) {
      traits.context = size_t(params->context);
    }
    return traits;
  };
  return info;
}

}  // namespace kvsplice::codec
