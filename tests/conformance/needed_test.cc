// A stage that does nothing must be seen: bounds are no bounds if a pipeline meets them without it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calibrate/calibrate.h"
#include "every_variant.h"

namespace kvsplice::codec {
namespace {

CodecText without_stage(const StageInfo* info, CodecText text) {
  for (PipelineText* pipeline : {&text.key, &text.value}) {
    std::erase_if(*pipeline, [&](const StageText& s) { return find_stage(s.name) == info; });
  }
  return text;
}

// Of the variant without its stage; error if there is no such pipeline: an entropy coder needs its
// quantiser.
Result<Measure> measure_without(const StageInfo* info, const StageVariant& variant) {
  KVS_ASSIGN(const CodecText text, parse_codec(variant.pipeline));
  KVS_ASSIGN(const Codec codec, fit_codec(without_stage(info, text), usual_shape()));
  return measure(codec, generate_block(usual_shape(), kMeasuredTokens, 2));
}

// Whether the stage has learnt anything, in some unit.
bool has_state(const Codec& codec, const StageInfo* info) {
  for (const auto& unit : codec.units()) {
    for (size_t s = 0; s < unit.stages().size(); ++s) {
      const bool same = find_stage(codec.text().of(unit.unit().kind)[s].name) == info;
      if (same && !unit.stages()[s]->save().empty()) return true;
    }
  }
  return false;
}

class Needed : public testing::TestWithParam<const StageCase*> {
 protected:
  const StageInfo* info() const { return find_stage(GetParam()->stage); }
};

TEST_P(Needed, SomeVariantMissesItsBoundsWithoutTheStage) {
  bool missed = false;
  for (const StageVariant& variant : GetParam()->variants) {
    const auto m = measure_without(info(), variant);
    missed |= !m.ok() || !within_bounds(*m, variant);
  }
  EXPECT_TRUE(missed) << GetParam()->stage << " may as well not be there";
}

TEST_P(Needed, EveryVariantLearnsIfTheStageDoes) {
  for (const StageVariant& variant : GetParam()->variants) {
    EXPECT_EQ(has_state(usual_codec(variant.pipeline), info()), GetParam()->learns)
        << variant.pipeline;
  }
}

std::vector<const StageCase*> all_cases() {
  std::vector<const StageCase*> cases;
  for (const StageCase& c : stage_cases()) cases.push_back(&c);
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, Needed, testing::ValuesIn(all_cases()),
                         [](const auto& subject) { return subject.param->stage; });

// Bits of a pipeline and of one that should need more of them.
void expect_cheaper(const std::string& pipeline, const std::string& than) {
  const KvBlock<float> block = generate_block(usual_shape(), kMeasuredTokens, 2);
  const Measure m = measure(fit_codec(pipeline, usual_shape()).value(), block).value();
  const Measure other = measure(fit_codec(than, usual_shape()).value(), block).value();
  EXPECT_LT(m.bits, 0.995 * other.bits) << pipeline << " and " << than;
  EXPECT_LT(m.error, 1.05 * other.error) << pipeline << " and " << than;
}

// The generated cache has what these look for; or bounds would say nothing of them.
TEST(Cases, RecallEmbeddingsAndLayersBelowPay) {
  expect_cheaper("klt | step(recall=256) | range", "klt | step | range");
  expect_cheaper("layers(history=1,embedding=off) | klt | step | range", "klt | step | range");
  expect_cheaper("layers(history=1) | klt | step | range",
                 "layers(history=1,embedding=off) | klt | step | range");
}

TEST(Cases, TheDefaultPipelineIsAVariant) {
  std::vector<std::string> pipelines;
  for (const Subject& s : all_subjects()) pipelines.push_back(s.variant->pipeline);
  EXPECT_THAT(pipelines, testing::Contains(calibrate::kDefaultPipeline));
}

}  // namespace
}  // namespace kvsplice::codec
