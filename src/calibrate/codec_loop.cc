#include "calibrate/codec_loop.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/threads.h"
#include "host/cache_block.h"
#include "host/gradient.h"
#include "quality/score.h"

namespace kvsplice::calibrate {

namespace {

Result<> check_layers_apart(const codec::Codec& codec) {
  for (const codec::UnitCoder& unit : codec.units()) {
    if (unit.unit().layer >= 0) continue;
    return Error{ErrorKind::unsupported,
                 "gradients reach a codec layer by layer, not layers joined"};
  }
  return {};
}

// KLD of a token, whose logits become its gradient, times `weight`.
double diverge(std::span<const float> log_p, std::span<float> logits, float weight) {
  const quality::LogProbs log_q(logits);
  double kld = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const float q = log_q[i], p = std::exp(log_p[i]);
    kld += double(p) * (log_p[i] - q);
    logits[i] = weight * (std::exp(q) - p);
  }
  return kld;
}

}  // namespace

size_t unit_of(const codec::Codec& codec, Kind kind, int layer) {
  const auto& units = codec.units();
  const auto found = std::find_if(units.begin(), units.end(), [&](const codec::UnitCoder& unit) {
    return unit.unit().kind == kind && unit.unit().layer == layer;
  });
  return size_t(found - units.begin());
}

double LoopGradients::share(size_t u) const {
  const UnitRows& unit = units[u];
  double sum = 0;
  for (size_t i = 0; i < unit.made.size(); ++i) {
    const float error = unit.made.flat()[i] - unit.given.flat()[i];
    sum += double(unit.gradient.flat()[i]) * error;
  }
  return sum / 2;
}

Result<CodedBlocks> CodedBlocks::begin(const codec::Codec& codec, std::span<const int32_t> tokens,
                                       std::span<const int32_t> positions,
                                       const codec::Embeddings& embeddings) {
  CodedBlocks made(codec.block_tokens());
  const codec::StageInfo::Traits traits = codec::traits_of(codec.text());
  for (size_t at = 0; at < tokens.size(); at += made.block_) {
    const size_t n = std::min(made.block_, tokens.size() - at);
    KVS_ASSIGN(codec::BlockCoding block,
               codec::BlockCoding::begin(codec.shape(), traits, tokens.subspan(at, n),
                                         positions.subspan(at, n), &embeddings));
    KVS_TRY(block.project(codec.embedding_basis()));
    made.blocks_.push_back(std::move(block));
  }
  return made;
}

Result<> CodedBlocks::code(const codec::UnitCoder& unit, MatrixView<const float> rows,
                           MatrixView<float> made, const Body& body) {
  for (size_t b = 0; b < blocks_.size(); ++b) {
    const size_t first = b * block_, n = std::min(block_, rows.rows - first);
    KVS_ASSIGN(Matrix<float> part, body(blocks_[b].context(unit), first, rows.row_range(first, n)));
    for (size_t r = 0; r < n; ++r) {
      std::copy_n(part.row(r).begin(), part.cols(), made.row(first + r).begin());
    }
    blocks_[b].keep(unit.unit(), std::move(part));
  }
  return {};
}

CodecLoop::CodecLoop(const host::Model& model, std::vector<int32_t> tokens, size_t sinks,
                     int threads)
    : model_(&model),
      tokens_(std::move(tokens)),
      positions_(tokens_.size()),
      prompt_(tokens_.size() / 2),
      sinks_(std::min(sinks, prompt_)),
      threads_(threads),
      log_probs_(tokens_.size() - prompt_, size_t(model.shape().vocabulary)) {
  std::iota(positions_.begin(), positions_.end(), 0);
}

Result<CodecLoop> CodecLoop::create(const host::Model& model, std::vector<int32_t> tokens,
                                    size_t sinks, int threads) {
  CodecLoop loop(model, std::move(tokens), sinks, threads);
  const auto keep = [&](size_t token, std::span<float> logits) {
    const quality::LogProbs log_p(logits);
    for (size_t i = 0; i < logits.size(); ++i) loop.log_probs_(token, i) = log_p[i];
  };
  KVS_TRY(host::loss_gradients(model, loop.tokens_, {loop.prompt_, {}, keep, {}, threads}));
  return loop;
}

Result<double> CodecLoop::evaluate(const host::ChangeRows& change,
                                   const host::TakeGradient& take) const {
  std::vector<double> klds(log_probs_.rows());
  const float weight = 1 / float(klds.size());
  const auto differentiate = [&](size_t token, std::span<float> logits) {
    klds[token] = diverge(log_probs_.row(token), logits, weight);
  };
  const host::LossOptions options{prompt_, change, differentiate, take, threads_};
  KVS_TRY(host::loss_gradients(*model_, tokens_, options));
  return std::accumulate(klds.begin(), klds.end(), 0.0) / double(klds.size());
}

Result<LoopGradients> CodecLoop::gradients(const codec::Codec& codec) const {
  KVS_TRY(check_layers_apart(codec));
  const codec::Embeddings embeddings = host::embeddings_of(*model_);
  KVS_ASSIGN(CodedBlocks blocks,
             CodedBlocks::begin(codec, coded_tokens(), coded_positions(), embeddings));
  LoopGradients loop;
  loop.units.resize(codec.units().size());
  const auto change = [&](Kind kind, int layer, MatrixView<float> all) -> Result<> {
    const size_t u = unit_of(codec, kind, layer);
    const codec::UnitCoder& unit = codec.units()[u];
    const MatrixView<float> rows = all.row_range(sinks_, all.rows - sinks_);
    loop.units[u].given = copy(MatrixView<const float>(rows));
    const auto roundtrip = [&](const codec::CodeContext& context, size_t,
                               MatrixView<const float> part) {
      return unit.roundtrip(copy(part), context, nullptr);
    };
    KVS_TRY(blocks.code(unit, rows, rows, roundtrip));
    loop.units[u].made = copy(MatrixView<const float>(rows));
    return {};
  };
  const auto take = [&](Kind kind, int layer, MatrixView<const float> all) -> Result<> {
    loop.units[unit_of(codec, kind, layer)].gradient =
        copy(all.row_range(sinks_, all.rows - sinks_));
    return {};
  };
  KVS_ASSIGN(loop.divergence, evaluate(change, take));
  return loop;
}

}  // namespace kvsplice::calibrate
