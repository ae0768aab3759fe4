#include "calibrate/loop_information.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "codec/packed_integers.h"
#include "core/random.h"
#include "host/cache_block.h"
#include "linalg/transposed.h"
#include "solve/solve.h"

namespace kvsplice::calibrate {

namespace {

const size_t kMostSequences = std::getenv("KVS_SEQS") ? size_t(std::atoi(std::getenv("KVS_SEQS"))) : 10;
constexpr double kRidge = 1e-3;  // of the mean variance

struct SourceOf {
  size_t unit;
  size_t cols;
};

// A unit's prediction, as a linear function of other units' restored rows.
struct Linear {
  std::vector<SourceOf> sources;
  Matrix<float> weights;  // [width x inputs], empty if nothing is predicted
  Matrix<double> given, crossed;  // sums over rows of r r^T and r r'^T
};

Result<Matrix<float>> weights_of(const codec::State& state, size_t width) {
  const size_t inputs = state.at("input_scale").values.size();
  const auto& scale = state.at("scale").values;
  KVS_ASSIGN(const Matrix<int32_t> packed,
             codec::unpack_integers(state, "codes", scale.size() * inputs, scale.size()));
  Matrix<float> w = transposed<int32_t, float>(packed);
  for (size_t r = 0; r < w.rows(); ++r) {
    for (size_t j = 0; j < inputs; ++j) w(r, j) *= scale[r] * state.at("input_scale").values[j];
  }
  if (state.count("up") == 0) return w;
  Matrix<float> up(width, scale.size()), all(width, inputs);
  std::copy(state.at("up").values.begin(), state.at("up").values.end(), up.data());
  gemm(Trans::no, Trans::no, 1.f, up, w, 0.f, all);
  return all;
}

void differentiate(std::span<float> logits, double uniform) {
  const float top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float& x : logits) sum += x = std::exp(x - top);
  double left = uniform * sum;
  size_t chosen = 0;
  while (chosen + 1 < logits.size() && (left -= logits[chosen]) >= 0) ++chosen;
  for (float& x : logits) x = static_cast<float>(-x / sum);
  logits[chosen] += 1;
}

// The gradients of one sequence, [prompt without sinks x width] of each unit.
Result<std::vector<Matrix<float>>> gradients(const host::Model& model, const codec::Codec& codec,
                                             std::span<const int32_t> tokens, uint64_t seed,
                                             const LoopInformationOptions& o,
                                             std::vector<Linear>& linear) {
  const size_t prompt = tokens.size() / 2, sinks = std::min(o.sinks, prompt);
  std::vector<int32_t> positions(tokens.size());
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = int32_t(i);
  const codec::Embeddings embeddings = host::embeddings_of(model);
  KVS_ASSIGN(CodedBlocks blocks,
             CodedBlocks::begin(codec, tokens.subspan(sinks, prompt - sinks),
                                std::span<const int32_t>(positions).subspan(sinks, prompt - sinks),
                                embeddings));
  const auto change = [&](Kind kind, int layer, MatrixView<float> all) -> Result<> {
    const size_t u = unit_of(codec, kind, layer);
    const codec::UnitCoder& unit = codec.units()[u];
    const MatrixView<float> rows = all.row_range(sinks, all.rows - sinks);
    Matrix<float> made(rows.rows, rows.cols);
    const auto body = [&](const codec::CodeContext& context, size_t,
                          MatrixView<const float> part) -> Result<Matrix<float>> {
      KVS_ASSIGN(Matrix<float> out, unit.roundtrip(copy(part), context, nullptr));
      if (linear[u].weights.empty()) return out;
      codec::Rows residual{copy(part), {}, false, 0};
      ByteWriter side;
      KVS_TRY(unit.stages()[0]->encode(residual, context, side));
      Matrix<float> back = residual.values;
      for (size_t i = 0; i < back.size(); ++i) {
        back.flat()[i] += out.flat()[i] - part.row(i / part.cols)[i % part.cols];
      }
      const std::vector<double> none(back.cols(), 0.0);
      const Matrix<double> rr = scatter(residual.values, {});
      const Matrix<double> rb = cross_scatter(residual.values, none, back, none);
      for (size_t i = 0; i < rr.size(); ++i) {
        linear[u].given.flat()[i] += rr.flat()[i];
        linear[u].crossed.flat()[i] += rb.flat()[i];
      }
      linear[u].sources.clear();
      for (const codec::Reconstruction& r : context.history) {
        if (r.rows.cols > 0) linear[u].sources.push_back({unit_of(codec, r.kind, r.layer), r.rows.cols});
      }
      return out;
    };
    KVS_TRY(blocks.code(unit, rows, made, body));
    if (!o.restored) return {};
    for (size_t r = 0; r < rows.rows; ++r) std::copy_n(made.row(r).begin(), rows.cols, rows.row(r).begin());
    return {};
  };
  Random random(seed);
  std::vector<double> uniform(tokens.size() - prompt);
  for (double& x : uniform) x = random.uniform();
  const auto score = [&](size_t i, std::span<float> logits) { differentiate(logits, uniform[i]); };
  std::vector<Matrix<float>> found(codec.units().size());
  const auto take = [&](Kind kind, int layer, MatrixView<const float> all) -> Result<> {
    found[unit_of(codec, kind, layer)] = copy(all.row_range(sinks, all.rows - sinks));
    return {};
  };
  KVS_TRY(host::loss_gradients(model, tokens, {prompt, change, score, take, o.threads}));
  return found;
}

// Adds to units' gradients what their rows do to rows predicted from them.
Result<> pass_down(const std::vector<Linear>& linear, std::vector<std::vector<Matrix<float>>>& all) {
  for (size_t u = linear.size(); u-- > 0;) {
    const Linear& l = linear[u];
    if (l.weights.empty() || l.sources.empty()) continue;
    const size_t n = l.given.rows();
    Matrix<double> a = l.given;
    double mean = 0;
    for (size_t i = 0; i < n; ++i) mean += a(i, i) / double(n);
    for (size_t i = 0; i < n; ++i) a(i, i) += kRidge * mean;
    KVS_ASSIGN(const Matrix<double> kept, solve_spd(std::move(a), l.crossed));
    double trace = 0;
    Matrix<float> left(n, n);  // (I - A)^T
    for (size_t i = 0; i < n; ++i) {
      trace += kept(i, i);
      for (size_t j = 0; j < n; ++j) left(j, i) = float((i == j) - kept(i, j));
    }
    Matrix<float> through(n, l.weights.cols());
    gemm(Trans::no, Trans::no, 1.f, left, l.weights, 0.f, through);
    fprintf(stderr, "unit %zu trace of kept %.3f of %zu\n", u, trace, n);
    for (auto& units : all) {
      size_t first = 0;
      for (const SourceOf& s : l.sources) {
        gemm(Trans::no, Trans::no, 1.f, units[u], through.view().col_range(first, s.cols), 1.f,
             units[s.unit].view());
        first += s.cols;
      }
    }
  }
  return {};
}

}  // namespace

Result<ModelInformation> loop_information(const host::Model& model, const codec::Codec& codec,
                                          std::span<const extract::Sequence> sequences,
                                          const LoopInformationOptions& o,
                                          const Progress& progress) {
  std::vector<Linear> linear(codec.units().size());
  for (size_t u = 0; u < linear.size(); ++u) {
    const codec::UnitCoder& unit = codec.units()[u];
    const size_t width = unit.unit().width();
    linear[u].given = linear[u].crossed = Matrix<double>(width, width);
    if (unit.pipeline().text.front().name != "layers") continue;
    const codec::State state = unit.stages()[0]->save();
    if (!state.empty()) {
      KVS_ASSIGN(linear[u].weights, weights_of(state, width));
    }
  }
  std::vector<std::vector<Matrix<float>>> all;
  const size_t n = std::min(sequences.size(), kMostSequences);
  size_t rows = 0;
  for (size_t i = 0; i < n; ++i) {
    KVS_TRY(progress.step("through", i, n));
    KVS_ASSIGN(auto found, gradients(model, codec, sequences[i].tokens, i, o, linear));
    rows += found[0].rows();
    all.push_back(std::move(found));
  }
  if (o.through) KVS_TRY(pass_down(linear, all));
  ModelInformation made;
  for (const LayerShape& l : model.shape().layers) {
    for (Kind kind : {Kind::key, Kind::value}) {
      const auto dim = size_t(l.heads_dim(kind));
      (kind == Kind::key ? made.keys : made.values)
          .push_back({std::vector(size_t(l.kv_heads), Matrix<double>(dim, dim))});
    }
  }
  for (size_t u = 0; u < codec.units().size(); ++u) {
    const codec::Unit& unit = codec.units()[u].unit();
    auto& to = (unit.kind == Kind::key ? made.keys : made.values)[size_t(unit.layer)];
    for (const auto& units : all) {
      size_t first = 0;
      for (Matrix<double>& head : to.heads) {
        const Matrix<double> products = scatter(units[u].view().col_range(first, head.cols()), {});
        for (size_t i = 0; i < head.size(); ++i) head.flat()[i] += products.flat()[i] / double(rows);
        first += head.cols();
      }
    }
  }
  return made;
}

}  // namespace kvsplice::calibrate
