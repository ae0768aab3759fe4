// A codec is a pipeline of stages: predict -> warp -> transform -> quantise -> entropy. A stage is
// one folder; this header is everything it has to know.
//
// The unit of work is the keys or the values of one layer (or of all layers, for stages that join
// them). Rows are tokens. Keys arrive *before* rotary embedding; `rotate` in front of a pipeline
// makes it work on keys as the cache stores them, and stages of cells get no others.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/params.h"
#include "core/progress.h"
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

class Stage;

// How much attention some tokens got from later ones, for stages that learn what to keep.
struct Attention {
  std::vector<size_t> rows;  // of the calibration rows, ascending
  Matrix<float> received;    // [rows x KV heads]; see analyse/attention.h
};

// What errors in the rows of a unit do to the model: for each head the Fisher information of what
// the model predicts, [dim x dim], symmetric. Errors of covariance C in all tokens, small and
// independent, cost a divergence of trace(heads[h] C) / 2 per predicted token, in nats.
struct Information {
  std::vector<Matrix<double>> heads;
};

// What the decoder has already made of another unit, for the same tokens.
struct Reconstruction {
  Kind kind = Kind::key;
  int layer = 0;
  MatrixView<const float> rows;
};

// What surrounds the rows of a unit while they pass through a pipeline.
struct Context {
  const Unit& unit;
  std::span<const int32_t> tokens;     // size n
  std::span<const int32_t> positions;  // size n
  // Earlier units, nearest first: for values the keys of the same layer, then keys and values of
  // the layers below. Empty unless the stage asked for history.
  std::vector<Reconstruction> history = {};
  const Embeddings* embeddings = nullptr;
  Progress progress = {};
  const std::string where = {};  // "layer 3 keys", for messages
  double rms = 0;                // while fitting: of the unit's rows about their mean, as they came
  double step_scale = 1;  // while fitting: of quantisers' steps, by an allocation among units
  // The tokens' embedding rows, [n x dim]; empty unless some stage of the codec reads embeddings.
  MatrixView<const float> embedded = {};
  // What stages leave for their like in later units of the same rows, by a name of their own. Null
  // where units are coded side by side.
  std::map<std::string, std::shared_ptr<void>>* memory = nullptr;
  // In a closed loop, where the same rows are decoded right after they were encoded: what
  // predictors subtracted, kept so that it need not be computed again. Null elsewhere.
  std::map<const Stage*, Matrix<float>>* predictions = nullptr;
  const ModelShape* shape = nullptr;     // of the model
  const Attention* attention = nullptr;  // while fitting: of the layer, for stages that ask for it
  const Information* information = nullptr;  // while fitting: of the unit, for stages that ask
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

// One stage of one unit's pipeline: immutable parameters, plus what fit() or load() gave it.
// encode and decode are const and may be called from several threads at once.
class Stage {
 public:
  virtual ~Stage() = default;

  // Learns from calibration rows (as the stages before have left them).
  virtual Result<> fit(const Rows& rows, const Context& context) = 0;

  // Replaces `rows` by what the next stage sees. What the decoder needs besides goes to `side`,
  // which is part of the encoded block and of its size.
  virtual Result<> encode(Rows& rows, const Context& context, ByteWriter& side) const = 0;

  // The reverse. `side` is exactly what encode wrote, or hostile: check before use.
  // `count` rows are to be made; rows arrive empty if the stage left none for its successor.
  virtual Result<> decode(Rows& rows, size_t count, const Context& context,
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
  std::function<Result<std::unique_ptr<Stage>>(const KeyValues&)> make;

  // Traits, from the parameters.
  struct Traits {
    bool joins_layers = false;  // wants all layers of a kind as one unit
    int history = 0;            // layers of reconstructions wanted in Context::history
    bool embeddings = false;    // wants Context::embeddings
    bool attention = false;     // wants Context::attention
    bool information = false;   // wants Context::information
    bool whole_block = false;   // rows depend on each other: encodes blocks, not single rows
    size_t reach = 0;           // rows depend on rows before them: on so many, with their own
    bool cells = false;         // wants keys as the cache holds them, and all rows in f16
  };
  std::function<Traits(const KeyValues&)> traits = [](const KeyValues&) { return Traits{}; };
};

// Generated from the stage folders (see cmake/Stages.cmake), in order of group and name.
const std::vector<StageInfo>& stage_table();
const StageInfo* find_stage(std::string_view name);  // by name or alias

}  // namespace kvsplice::codec
