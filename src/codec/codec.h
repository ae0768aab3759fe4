// A fitted codec: pipelines for the keys and values of every layer of one model.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "codec/entropy_meter.h"
#include "codec/pipeline.h"
#include "codec/stage.h"
#include "core/limits.h"
#include "core/output_file.h"

namespace kvsplice::codec {

// The cache of n consecutive tokens.
struct CacheBlock {
  std::vector<int32_t> tokens, positions;  // size n
  std::vector<Matrix<float>> keys;         // per layer [n x width], before rotary embedding
  std::vector<Matrix<float>> values;       // per layer [n x width]
  // Layers with a sliding window may be left out, all of them together: they have no rows then.

  size_t count() const { return tokens.size(); }
  std::vector<Matrix<float>>& of(Kind kind) { return kind == Kind::key ? keys : values; }
  const std::vector<Matrix<float>>& of(Kind kind) const {
    return kind == Kind::key ? keys : values;
  }
};

// Gives calibration rows one unit at a time, so that only a few units are in memory at once.
class RowSource {
 public:
  virtual ~RowSource() = default;
  virtual std::span<const int32_t> tokens() const = 0;
  virtual std::span<const int32_t> positions() const = 0;
  // [tokens x width] of one layer; keys before rotary embedding.
  virtual Result<Matrix<float>> read(Kind kind, int layer) const = 0;
  // Of the rows whose queries are known; error usage if there are none.
  virtual Result<Attention> read_attention(int layer) const;
  // Error usage if it is not known.
  virtual Result<Information> read_information(Kind kind, int layer) const;
};

class Codec {
 public:
  // An unfitted codec; every stage exists for every unit.
  static Result<Codec> create(const CodecText& text, const ModelShape& shape);
  static Result<Codec> load(const std::string& path, const ReadLimits& limits = {});
  Result<> save(OutputFile out) const;
  Result<> save(const std::string& path) const;

  // step_scales: of the steps of each of units(), beside what the pipeline says; empty: 1. A codec
  // that could not be fitted is what it was before.
  Result<> fit(const RowSource& source, const Embeddings* embeddings, const Progress& progress,
               std::span<const double> step_scales = {});

  Result<Bytes> encode(const CacheBlock& block, const Embeddings* embeddings) const;
  // tokens and positions are stored beside the encoded block, not in it.
  Result<CacheBlock> decode(ByteSpan bytes, std::span<const int32_t> tokens,
                            std::span<const int32_t> positions, const Embeddings* embeddings) const;
  // The bytes of each unit within an encoded block, in the order of units().
  Result<std::vector<ByteSpan>> payloads(ByteSpan bytes) const;
  // The same for codecs of cells, which keep them to the bit: rows are f16 values, keys are as the
  // cache holds them. encode() and decode() turn keys there and back, in float.
  Result<Bytes> encode_cells(const CacheBlock& block, const Embeddings* embeddings) const;
  Result<CacheBlock> decode_cells(ByteSpan bytes, std::span<const int32_t> tokens,
                                  std::span<const int32_t> positions,
                                  const Embeddings* embeddings) const;
  // decode(encode(block)) without the bytes; counts codes if a meter is given.
  Result<CacheBlock> roundtrip(const CacheBlock& block, const Embeddings* embeddings,
                               EntropyMeter* meter) const;

  const CodecText& text() const { return text_; }
  const ModelShape& shape() const { return shape_; }
  std::string fingerprint() const;  // of text, shape and every fitted value
  size_t state_bytes() const;       // side data of the codec file: what the state takes on disk
  bool whole_block() const;         // some stage encodes blocks, not rows
  size_t reach() const;             // rows depend on rows before them in their block, in runs of so
                                    // many; 0 or 1: on none
  bool needs_embeddings() const;
  bool needs_attention() const;    // while fitting
  bool needs_information() const;  // while fitting
  bool of_cells() const;           // some stage works on cells
  size_t calibration_tokens() const { return calibration_tokens_; }

  struct UnitPipeline {
    Unit unit;
    std::vector<std::unique_ptr<Stage>> stages;
    int history = 0;
  };
  const std::vector<UnitPipeline>& units() const { return units_; }
  std::vector<UnitPipeline>& units() { return units_; }

 private:
  static Result<Codec> read(const std::string& path, const ReadLimits& limits);
  Result<> write(OutputFile out) const;
  Result<> fit_units(const RowSource& source, const Embeddings* embeddings,
                     const Progress& progress, std::span<const double> step_scales);
  Result<Bytes> encode_block(const CacheBlock& block, const Embeddings* embeddings) const;
  Result<CacheBlock> decode_block(ByteSpan bytes, std::span<const int32_t> tokens,
                                  std::span<const int32_t> positions,
                                  const Embeddings* embeddings) const;
  Result<CacheBlock> code_and_decode(const CacheBlock& block, const Embeddings* embeddings,
                                     EntropyMeter* meter) const;
  // What stages of cells are given of a block, and back.
  Result<CacheBlock> to_cells(const CacheBlock& block) const;
  void from_cells(CacheBlock& block) const;
  // Whether each unit is of a layer that a block which lacks layers with a window lacks.
  Result<std::vector<bool>> units_left_out(bool lacking) const;

  CodecText text_;
  ModelShape shape_;
  std::vector<UnitPipeline> units_;  // in coding order: keys then values, layer by layer
  size_t calibration_tokens_ = 0;
};

}  // namespace kvsplice::codec
