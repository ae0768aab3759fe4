// Pipeline text <-> object. The grammar knows no stage:
//
//   codec    = pipeline | "k:" pipeline ";" "v:" pipeline
//   pipeline = stage { "|" stage }
//   stage    = name [ "(" [ key "=" value { "," key "=" value } ] ")" ]
//
// White space is free. Printing a parsed text gives its canonical form; printing is a fixed point.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "codec/stage.h"

namespace kvsplice::codec {

struct StageText {
  std::string name;
  KeyValues params;
  bool operator==(const StageText&) const = default;
};

using PipelineText = std::vector<StageText>;

struct CodecText {
  PipelineText key, value;
  const PipelineText& of(Kind kind) const { return kind == Kind::key ? key : value; }
  bool operator==(const CodecText&) const = default;
};

// Also checks that every stage exists, its parameters are legal and the groups are in order
// (at most one quantiser and one entropy coder, an entropy coder only behind a quantiser).
Result<CodecText> parse_codec(std::string_view text);
std::string print(const PipelineText& text);
std::string print(const CodecText& text);

// The pipelines with all stages of that name left out.
CodecText without(const std::string& stage, CodecText text);

}  // namespace kvsplice::codec
