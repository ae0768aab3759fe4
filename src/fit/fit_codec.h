// Makes a codec from calibration rows: unit by unit, stage by stage, each stage from what the ones
// before it have left. Units that read others see them as the decoder will have made them.
#pragma once

#include "codec/codec.h"
#include "core/progress.h"
#include "fit/row_source.h"

namespace kvsplice::codec {

Result<Codec> fit_codec(const CodecText& text, const ModelShape& shape, const RowSource& source,
                        const Embeddings* embeddings, const Progress& progress);

}  // namespace kvsplice::codec
