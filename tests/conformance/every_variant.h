// Every variant of every stage's case, for parameterised tests, and codecs fitted on generated
// caches.
#pragma once

#include <gtest/gtest.h>

#include <map>

#include "codec/stage_case.h"
#include "generated_cache.h"

namespace kvsplice::codec {

// Fitted once per pipeline and test program.
inline const Codec& usual_codec(const std::string& pipeline) {
  static std::map<std::string, std::unique_ptr<Codec>> made;
  std::unique_ptr<Codec>& codec = made[pipeline];
  if (!codec) {
    auto fitted = fit_codec(pipeline, usual_shape());
    if (!fitted.ok()) {
      ADD_FAILURE() << pipeline << ": " << fitted.error().message;
      std::abort();
    }
    codec = std::make_unique<Codec>(std::move(*fitted));
  }
  return *codec;
}

// Relative rms difference over all keys and values.
inline double relative_error(const KvBlock<float>& a, const KvBlock<float>& b) {
  double error = 0, energy = 0;
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < a.of(kind).size(); ++l) {
      EXPECT_EQ(a.of(kind)[l].size(), b.of(kind)[l].size());
      for (size_t i = 0; i < a.of(kind)[l].size(); ++i) {
        const double x = a.of(kind)[l].flat()[i], y = b.of(kind)[l].flat()[i];
        error += (x - y) * (x - y);
        energy += x * x;
      }
    }
  }
  return energy == 0 ? std::sqrt(error) : std::sqrt(error / energy);
}

// What coding costs: relative rms error, and bits per value with side data counted.
struct Measure {
  double error = 0, bits = 0;
};

inline Result<Measure> measure(const Codec& codec, const KvBlock<float>& block) {
  const Embeddings embeddings = generate_embeddings();
  KVS_ASSIGN(const Bytes bytes, codec.encode(block, &embeddings));
  KVS_ASSIGN(const KvBlock<float> back,
             codec.decode(bytes, block.tokens, block.positions, &embeddings));
  return Measure{relative_error(block, back),
                 8.0 * double(bytes.size()) / double(value_count(block))};
}

constexpr size_t kMeasuredTokens = 256;

inline bool within_bounds(const Measure& m, const StageVariant& v) {
  return m.error >= v.error.least && m.error <= v.error.most && m.bits >= v.least_bits &&
         m.bits <= v.most_bits;
}

// One variant of one stage's case, for parameterised tests.
struct Subject {
  const StageCase* stage_case;
  const StageVariant* variant;
};

inline std::vector<Subject> all_subjects() {
  std::vector<Subject> list;
  for (const StageCase& c : stage_cases()) {
    for (const StageVariant& v : c.variants) list.push_back({&c, &v});
  }
  return list;
}

// For gtest: the stage and the pipeline text, with runs of other characters as one underscore.
inline std::string subject_name(const testing::TestParamInfo<Subject>& info) {
  std::string name = info.param.stage_case->stage + "_";
  for (char c : info.param.variant->pipeline) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c));
    if (plain || name.back() != '_') name += plain ? c : '_';
  }
  return name;
}

inline void PrintTo(const Subject& subject, std::ostream* out) {
  *out << subject.variant->pipeline;
}

class EveryVariant : public testing::TestWithParam<Subject> {
 protected:
  const std::string& pipeline() const { return GetParam().variant->pipeline; }
  const Codec& codec() const { return usual_codec(pipeline()); }
  const Embeddings embeddings_ = generate_embeddings();

  Bytes encode(const KvBlock<float>& block) const {
    return codec().encode(block, &embeddings_).value();
  }
  Result<KvBlock<float>> decode(ByteSpan bytes, const KvBlock<float>& like) const {
    return codec().decode(bytes, like.tokens, like.positions, &embeddings_);
  }
};

}  // namespace kvsplice::codec
