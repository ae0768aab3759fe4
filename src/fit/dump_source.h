// Dumps as calibration rows.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "analyse/attention.h"
#include "extract/dump.h"
#include "fit/row_source.h"

namespace kvsplice::codec {

// The geometry of what a dump holds: its layers and heads only.
ModelShape dumped_shape(const extract::DumpInfo& info);

// Of its layer `layer`, an index into shape.layers.
analyse::AttentionShape attention_shape(const extract::DumpInfo& info, int layer);

// The rows of one or more dumps of one model, one text after the other, without the first `sinks`
// tokens of each text (they stay exact in use, and their outliers would spoil the statistics).
class DumpSource : public RowSource {
 public:
  // `use` chooses among the texts of all dumps, by number; all if it is empty.
  static Result<DumpSource> open(const std::vector<std::string>& paths, size_t sinks,
                                 const std::function<bool(size_t text)>& use = {});

  const ModelShape& shape() const { return shape_; }
  std::span<const int32_t> tokens() const override { return tokens_; }
  std::span<const int32_t> positions() const override { return positions_; }
  Result<Matrix<float>> read(Kind kind, int layer) const override;
  Result<Attention> read_attention(int layer) const override;  // from texts dumped with queries

 private:
  struct Part {  // consecutive rows of one dump
    size_t dump, first, count;
  };
  DumpSource() = default;
  std::vector<extract::Dump> dumps_;
  std::vector<Part> parts_;
  ModelShape shape_;
  std::vector<int32_t> tokens_, positions_;
};

}  // namespace kvsplice::codec
