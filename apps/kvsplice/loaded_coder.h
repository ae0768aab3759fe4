// What the session commands need of a model and a codec, loaded from the files the user names.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "host/model.h"
#include "host/state_rows.h"
#include "session/session.h"

namespace kvsplice::app {

struct LoadedCoder {
  std::optional<host::Model> model;
  std::optional<codec::Codec> codec;
  std::optional<codec::Codec> read_codec;  // of sessions that are read, if another
  codec::Embeddings embeddings;

  // Model and codec may be empty, but not both: the shape of the cache comes from one of them. With
  // `lossless` the codec must be one that keeps every bit.
  static Result<std::unique_ptr<LoadedCoder>> load(const std::string& model_path,
                                                   const std::string& codec_path,
                                                   bool lossless = false,
                                                   const std::string& read_codec_path = {},
                                                   const host::ModelOptions& options = {});
  session::Coder coder() const;       // of what is written
  session::Coder read_coder() const;  // of sessions that are read
};

// The cells of the first `n` tokens of a text (all of them if 0), evaluated by the model; of
// hybrids also the recurrent states, each `checkpoint` tokens (0: nowhere) and at the end.
struct Evaluated {
  host::StateCells cells;
  std::vector<session::RecurrentState> states;
};
struct TextToEvaluate {
  std::string path;
  size_t tokens = 0, checkpoint = 0;
  int threads = 0;
};
Result<Evaluated> evaluate_text(const host::Model& model, const TextToEvaluate& text,
                                const Progress& progress);

// Error usage if checkpoints are wanted of a model that has no recurrent state.
Result<> check_checkpoint(size_t checkpoint, const ModelShape& shape);
// How many of `most` tokens to evaluate behind `at` until the next checkpoint.
size_t until_checkpoint(size_t at, size_t most, size_t checkpoint);

// "4096 tokens in 5.1 MB, 18.4 times smaller than f16".
std::string describe_size(const session::SessionReader& reader);

}  // namespace kvsplice::app
