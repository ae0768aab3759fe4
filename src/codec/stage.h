// A codec is a pipeline of stages: predict -> warp -> transform -> quantise -> entropy. A stage is
// one folder; this header is everything it has to know to code rows. What it learns before is in
// fit/stage_fit.h.
//
// The unit of work is the keys or the values of one layer (or of all layers, for stages that join
// them). Rows are tokens. Keys arrive *before* rotary embedding; `rotate` in front of a pipeline
// makes it work on keys as the cache stores them, and stages of cells get no others.
#pragma once

#include <any>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <typeindex>
#include <vector>

#include "core/bytes.h"
#include "core/params.h"
#include "core/shape.h"

namespace kvsplice::codec {

// What one instance of a pipeline works on.
struct Unit {
  Kind kind = Kind::key;
  int layer = 0;               // index into ModelShape::layers, -1 when all layers are joined
  std::vector<int> head_dims;  // one entry per head, in order; all layers' heads when joined
  Rope rope;                   // of keys; does not rotate for values or joined layers

  size_t width() const;  // sum of head_dims
};

// Gives the model's token embedding rows, RMS-normalised: out [tokens x dim].
struct Embeddings {
  int dim = 0;
  std::function<Result<>(std::span<const int32_t> tokens, MatrixView<float> out)> lookup;
};

// What the decoder has already made of another unit, for the same tokens.
struct Reconstruction {
  Kind kind = Kind::key;
  int layer = 0;
  MatrixView<const float> rows;
};

// What stages leave for their like in later units of the same rows: an object of each type that a
// stage asks for. The type is the stage's own.
class Shared {
 public:
  template <class T>
  T& of() {
    std::any& slot = objects_[std::type_index(typeid(T))];
    if (!slot.has_value()) slot.emplace<T>();
    return *std::any_cast<T>(&slot);
  }

 private:
  std::map<std::type_index, std::any> objects_;
};

// What a stage may look at while it codes the rows of a unit.
struct CodeContext {
  const Unit& unit;
  std::span<const int32_t> tokens;     // size n
  std::span<const int32_t> positions;  // size n
  // Earlier units, nearest first: for values the keys of the same layer, then keys and values of
  // the layers below. Empty unless a stage of the pipeline asks for history.
  std::vector<Reconstruction> history = {};
  // The tokens' embedding rows, [n x dim]; empty unless a stage of the codec reads embeddings.
  MatrixView<const float> embedded = {};
  // What they are in the codec's embedding basis, [n x directions]; empty if it has none.
  MatrixView<const float> directions = {};
  const ModelShape* shape = nullptr;  // of the model
  Shared* shared = nullptr;           // null where units are coded side by side
  // In a closed loop, where rows are decoded right after they were encoded: encode leaves here what
  // decode would have to compute again, and decode takes it. Null elsewhere. Every stage has its
  // own.
  Matrix<float>* kept = nullptr;
};

// Rows on their way through a pipeline. `values` is what the next stage works on until a quantiser
// replaces it by `codes`; the number of columns may change from stage to stage.
struct Rows {
  Matrix<float> values;
  Matrix<int32_t> codes;
  bool quantised = false;
  int code_bits = 0;  // codes fit in [-2^(bits-1), 2^(bits-1)); 0 = unbounded

  size_t count() const { return quantised ? codes.rows() : values.rows(); }
  size_t width() const { return quantised ? codes.cols() : values.cols(); }
};

// How values are saved: f16 and i8 only for values that are exact in them.
enum class Storage { f32, f16, i8 };
size_t bytes_of(Storage storage);

// What a stage learnt for one unit, by name; saved in codec.gguf.
struct StateArray {
  std::vector<size_t> dims;   // row-major, outermost first; at most 4
  std::vector<float> values;  // product of dims
  Storage storage = Storage::f32;
};
using State = std::map<std::string, StateArray>;
size_t bytes_of(const State& state);  // as they are saved

// One stage of one unit's pipeline: immutable parameters, plus what load() gave it. What a stage
// learns is made by its fit (fit/stage_fit.h). encode and decode may be called from several threads
// at once.
class Stage {
 public:
  virtual ~Stage() = default;

  // Replaces `rows` by what the next stage sees. What the decoder needs besides goes to `side`,
  // which is part of the encoded block and of its size.
  virtual Result<> encode(Rows& rows, const CodeContext& context, ByteWriter& side) const = 0;

  // The reverse. `side` is exactly what encode wrote, or hostile: check before use.
  // `count` rows are to be made; rows arrive empty if the stage left none for its successor.
  virtual Result<> decode(Rows& rows, size_t count, const CodeContext& context,
                          ByteReader& side) const = 0;

  virtual State save() const { return {}; }
  // Checks shapes against `width`, the columns the stage receives, and values for being finite.
  virtual Result<> load(const State& state, size_t width) = 0;
  // Columns it hands on when it receives `width`; 0 when everything goes to side data.
  virtual size_t output_width(size_t width) const { return width; }
};

struct StageInfo {
  std::string name;  // as in pipeline text
  std::vector<std::string> aliases;
  std::string group;    // predict, warp, transform, quantise, entropy
  int version = 1;      // of its wire format and state, as it is written
  int oldest = 1;       // that it still reads
  std::string summary;  // one sentence for help and manual
  std::vector<ParamInfo> params;
  // A stage of these parameters, which reads and writes what that version did.
  std::function<Result<std::unique_ptr<Stage>>(const KeyValues&, int version)> make;

  // Traits, from the parameters.
  struct Traits {
    bool joins_layers = false;  // wants all layers of a kind as one unit
    int history = 0;            // layers of reconstructions wanted in CodeContext::history
    bool embeddings = false;    // wants CodeContext::embedded
    size_t directions = 0;      // columns wanted in CodeContext::directions
    bool attention = false;     // wants FitContext::attention
    bool information = false;   // wants FitContext::information
    bool whole_block = false;   // rows depend on each other: encodes blocks, not single rows
    size_t reach = 0;           // rows depend on rows before them: on so many, with their own
    bool cells = false;         // wants keys as the cache holds them, and all rows in f16
    size_t context = 0;         // fits see texts anywhere in so many tokens; 0: where they stood
  };
  std::function<Traits(const KeyValues&)> traits = [](const KeyValues&) { return Traits{}; };
};

// Generated from the stage folders (see cmake/Stages.cmake), in order of group and name.
const std::vector<StageInfo>& stage_table();
const StageInfo* find_stage(std::string_view name);  // by name or alias

}  // namespace kvsplice::codec
