#include "fit/fit_codec.h"

#include "codec/block_coding.h"
#include "core/memory.h"
#include "fit/embedding_basis_fit.h"
#include "fit/spread_positions.h"
#include "linalg/linalg.h"

namespace kvsplice::codec {

Result<Attention> RowSource::read_attention(int) const {
  return Error{ErrorKind::usage, "these calibration rows come without queries"};
}

Result<Information> RowSource::read_information(Kind, int) const {
  return Error{ErrorKind::usage,
               "what errors do to the model is not known of these calibration rows: "
               "'kvsplice calibrate' finds it out"};
}

namespace {

Result<Matrix<float>> read_unit(const RowSource& source, const Unit& unit,
                                const ModelShape& shape) {
  return side_by_side(unit, shape, source.tokens().size(), [&](size_t layer) {
    return source.read(unit.kind, static_cast<int>(layer));
  });
}

// What is asked of the source for one unit, and what was asked for the one before.
class Knowledge {
 public:
  explicit Knowledge(const RowSource& source) : source_(source) {}

  Result<> find(const UnitCoder& unit, FitContext& context) {
    const StageInfo::Traits& traits = unit.pipeline().traits;
    const Unit& u = unit.unit();
    if (traits.attention && u.layer != attended_) {
      KVS_ASSIGN(attention_, source_.read_attention(u.layer));
      attended_ = u.layer;
    }
    if (traits.attention) context.attention = &attention_;
    if (!traits.information) return {};
    KVS_ASSIGN(information_, source_.read_information(u.kind, u.layer));
    context.information = &information_;
    return {};
  }

 private:
  const RowSource& source_;
  Attention attention_;  // of the layer at hand, for its keys and its values
  int attended_ = -1;
  Information information_;
};

// Fits the stages of a unit in turn; returns what the decoder will make of the rows if there is a
// loop.
Result<Matrix<float>> fit_unit(UnitCoder& unit, Matrix<float> values, FitContext& context,
                               bool loop) {
  const Pipeline& pipeline = unit.pipeline();
  const size_t count = values.rows();
  UnitCoder::Pass pass(unit, std::move(values), loop);
  for (size_t s = 0; s < pipeline.size(); ++s) {
    const StageText& text = pipeline.text[s];
    const auto state = fit_state(pipeline.stages[s]->name, text.params, pass.rows(), context);
    const auto loaded = state.ok() ? unit.load(s, *state) : Result<>(state.error());
    if (!loaded.ok()) return unit.within(s, loaded.error());
    if (s == pipeline.before_entropy()) break;
    // The last stage has nobody to code for; one that learns nothing is tried, though.
    const bool last = s + 1 == pipeline.size();
    if (!last || loop || !learns(pipeline.stages[s]->name)) KVS_TRY(pass.forth(context));
  }
  if (!loop) return Matrix<float>();
  return pass.back(count, context);
}

}  // namespace

Result<Codec> fit_codec(const CodecText& text, const ModelShape& shape, const RowSource& source,
                        const Embeddings* embeddings, const Progress& progress) {
  return within_memory([&]() -> Result<Codec> {
    const std::span<const int32_t> tokens = source.tokens(), positions = source.positions();
    if (tokens.empty()) {
      return Error{ErrorKind::numeric,
                   "no calibration tokens: texts must be longer than the sinks"};
    }
    const StageInfo::Traits traits = traits_of(text);
    const std::vector<int32_t> spread = spread_positions(positions, traits.context);
    KVS_ASSIGN(std::vector<UnitCoder> units, Codec::make_units(text, shape));
    KVS_ASSIGN(BlockCoding coding,
               BlockCoding::begin(shape, traits, tokens, positions, embeddings));
    EmbeddingBasis basis;
    if (traits.directions > 0) {
      KVS_TRY(progress.step("fit the embedding's directions", 0, units.size()));
      KVS_ASSIGN(basis, fit_embedding_basis(coding.embedded(), traits.directions));
    }
    KVS_TRY(coding.project(basis));
    Knowledge knowledge(source);
    Shared shared;
    for (size_t i = 0; i < units.size(); ++i) {
      UnitCoder& unit = units[i];
      const std::string where = name_of(unit.unit());
      KVS_TRY(progress.step("fit " + where, i, units.size()));
      FitContext context{coding.context(unit), progress};
      if (unit.pipeline().traits.context > 0) context.positions = spread;
      context.shared = &shared;
      KVS_TRY(knowledge.find(unit, context));
      KVS_ASSIGN(Matrix<float> values, read_unit(source, unit.unit(), shape));
      KVS_TRY(check_finite(values, where));
      if (traits.cells) {
        to_cells(values, unit.unit(), positions);
        KVS_TRY(check_finite(values, where));
      }
      context.rms = rms_about_mean(values);
      KVS_ASSIGN(Matrix<float> made,
                 fit_unit(unit, std::move(values), context, coding.closed_loop()));
      coding.keep(unit.unit(), std::move(made));
    }
    return Codec(text, shape, std::move(units), tokens.size(), std::move(basis));
  });
}

}  // namespace kvsplice::codec
