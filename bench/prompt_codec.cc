#include "bench/prompt_codec.h"

#include "bench/prompt.h"
#include "calibrate/calibration_data.h"
#include "core/temporary_folder.h"
#include "fit/dump_source.h"
#include "fit/fit_codec.h"

namespace kvsplice::bench {

Result<codec::Codec> fit_on_prompt(const host::Model& model, const std::string& pipeline,
                                   int tokens, const codec::Embeddings& embeddings) {
  KVS_ASSIGN(const TemporaryFolder folder, TemporaryFolder::create("bench"));
  const std::vector<extract::Sequence> prompt = {{"prompt", "", random_prompt(model, tokens)}};
  KVS_ASSIGN(const codec::CodecText text, codec::parse_codec(pipeline));
  KVS_ASSIGN(const auto data, calibrate::CalibrationData::gather(
                                  model, prompt, codec::traits_of(text), {0, folder.path()}, {}));
  return codec::fit_codec(text, model.shape(), data.source(), &embeddings, {});
}

}  // namespace kvsplice::bench
