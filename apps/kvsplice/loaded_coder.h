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

// The cells of the first `n` tokens of a text (all of them if 0), evaluated by the model.
Result<host::StateCells> evaluate_text(const host::Model& model, const std::string& text_path,
                                       size_t n, int threads, const Progress& progress);

// "4096 tokens in 5.1 MB, 18.4 times smaller than f16".
std::string describe_size(const session::SessionReader& reader);

}  // namespace kvsplice::app
