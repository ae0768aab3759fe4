#include <fmt/format.h>

#include <map>

#include "codec/stage_case.h"
#include "core/file.h"
#include "seeds.h"
#include "support/small_codecs.h"

namespace kvsplice::fuzz {

namespace {

// Some codec must have every stage in it.
Result<> check_stages(const std::map<std::string, size_t>& codecs_of) {
  for (const codec::StageInfo& info : codec::stage_table()) {
    if (codecs_of.count(info.name) > 0) continue;
    return Error{ErrorKind::usage,
                 fmt::format("no case of stage '{}' fits the small model of the fuzz drivers; one "
                             "of heads of 6 to 12 values is needed",
                             info.name)};
  }
  return {};
}

Result<std::vector<Bytes>> make(const std::string& scratch) {
  std::vector<Bytes> seeds;
  std::map<std::string, size_t> codecs_of;
  for (size_t i = 0; i < small_pipelines().size(); ++i) {
    const codec::Codec* codec = small_codec(i);
    if (codec == nullptr) continue;
    KVS_TRY(codec->save(scratch));
    KVS_ASSIGN(Bytes seed, read_file(scratch));
    seeds.push_back(std::move(seed));
    for (const auto& stage : codec->text().key) ++codecs_of[codec::find_stage(stage.name)->name];
  }
  KVS_TRY(check_stages(codecs_of));
  return seeds;
}

}  // namespace

Seeds codec_file_seeds() { return {"codec_file", make}; }

}  // namespace kvsplice::fuzz
