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

// A pipeline and what is known of its stages, looked up once.
struct Pipeline {
  PipelineText text;
  std::vector<const StageInfo*> stages;  // like `text`
  std::vector<int> versions;             // of the stages' bytes
  StageInfo::Traits traits;              // of all stages together
  bool quantises = false;                // some stage turns values into integers
  bool entropy_coded = false;            // the last stage is an entropy coder

  size_t size() const { return stages.size(); }
  // The stages in front of the entropy coder.
  size_t before_entropy() const { return size() - (entropy_coded ? 1 : 0); }
};
// versions: like the stages; empty: those that this program writes.
Pipeline pipeline_of(PipelineText text, std::span<const int32_t> versions = {});
// Of the keys' and the values' stages together.
StageInfo::Traits traits_of(const CodecText& text);

}  // namespace kvsplice::codec
