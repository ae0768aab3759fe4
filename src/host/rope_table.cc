#include "host/rope_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <ggml-backend.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numeric>
#include <vector>

namespace kvsplice::host {

namespace {

// Places of ggml_rope_ext's arguments in op_params.
struct RopeParams {
  int dims, mode, original_context, first_dim;
  std::array<int, 4> sections;
  float base, scale, extrapolation, attention, beta_fast, beta_slow;

  explicit RopeParams(const int32_t* p)
      : dims(p[1]),
        mode(p[2]),
        original_context(p[4]),
        first_dim(p[15]),
        sections{p[11], p[12], p[13], p[14]},
        base(std::bit_cast<float>(p[5])),
        scale(std::bit_cast<float>(p[6])),
        extrapolation(std::bit_cast<float>(p[7])),
        attention(std::bit_cast<float>(p[8])),
        beta_fast(std::bit_cast<float>(p[9])),
        beta_slow(std::bit_cast<float>(p[10])) {}
};

// Share of the unscaled angle in pair i, by YaRN's ramp.
float extrapolated_share(const RopeParams& p, size_t i) {
  if (p.extrapolation == 0) return 0;
  float ends[2];
  ggml_rope_yarn_corr_dims(p.dims, p.original_context, p.base, p.beta_fast, p.beta_slow, ends);
  const float along = (float(i) - ends[0]) / std::max(0.001f, ends[1] - ends[0]);
  return (1 - std::clamp(along, 0.0f, 1.0f)) * p.extrapolation;
}

std::vector<float> frequency_factors(const ggml_tensor* node, size_t pairs) {
  std::vector<float> factors(pairs, 1.0f);
  if (node->src[2] != nullptr) {
    ggml_backend_tensor_get(node->src[2], factors.data(), 0, pairs * sizeof(float));
  }
  return factors;
}

bool has_sections(int mode) {
  return mode == GGML_ROPE_TYPE_MROPE || mode == GGML_ROPE_TYPE_IMROPE;
}

// ggml divides by their sum.
Result<> check_sections(const RopeParams& p, int64_t head_dim) {
  int64_t sum = 0;
  for (const int s : p.sections) sum += s;
  const int least = *std::min_element(p.sections.begin(), p.sections.end());
  if (least >= 0 && sum > p.sections[3] && sum <= head_dim) return {};
  return Error{
      ErrorKind::unsupported,
      fmt::format("sections {} of a rotary embedding of {} dimensions; at least 0 each and "
                  "1 of the first three are legal",
                  fmt::join(p.sections, ", "), head_dim)};
}

// Whether a pair turns by a fourth position, which is 0 in text; the other three are equal there.
bool stands_still(const RopeParams& p, size_t pair) {
  if (!has_sections(p.mode)) return false;
  const auto& s = p.sections;
  const int64_t at = int64_t(pair) % (int64_t{s[0]} + s[1] + s[2] + s[3]);
  if (p.mode == GGML_ROPE_TYPE_IMROPE) return at >= int64_t{3} * s[size_t(at % 3)];
  return at >= int64_t{s[0]} + s[1] + s[2];
}

}  // namespace

Result<Rope> rope_of(const ggml_tensor* node) {
  const RopeParams p(node->op_params);
  const bool known = p.mode == GGML_ROPE_TYPE_NORMAL || p.mode == GGML_ROPE_TYPE_NEOX;
  if (!known && !has_sections(p.mode)) {
    return Error{ErrorKind::unsupported,
                 fmt::format("rotary embedding of mode {} is not handled; modes 0, 2, 8 and 40 are",
                             p.mode)};
  }
  if (has_sections(p.mode)) KVS_TRY(check_sections(p, node->ne[0]));
  Rope rope;
  rope.pairs = p.mode == GGML_ROPE_TYPE_NORMAL ? Rope::Pairs::adjacent : Rope::Pairs::halves;
  rope.first = p.first_dim;
  rope.magnitude = p.attention;
  if (p.extrapolation != 0) rope.magnitude *= 1 + 0.1f * std::log(1 / p.scale);
  const auto pairs = static_cast<size_t>(p.dims / 2);
  const std::vector<float> factors = frequency_factors(node, pairs);
  // ggml steps from pair to pair by a float factor; its rounding is kept.
  const float step = std::pow(p.base, -2.0f / float(p.dims));
  double frequency = 1;
  for (size_t i = 0; i < pairs; ++i, frequency *= step) {
    if (stands_still(p, i)) {
      rope.frequency.push_back(0);
      continue;
    }
    const float share = extrapolated_share(p, i);
    rope.frequency.push_back(
        static_cast<float>(frequency / factors[i] * (p.scale * (1 - share) + share)));
  }
  return rope;
}

// Rotations are orthogonal but for their magnitude, by which undo() divides.
void rotate_back(Rope rope, int head_dim, MatrixView<float> gradient, size_t first) {
  rope.magnitude = 1 / rope.magnitude;
  std::vector<int32_t> positions(gradient.rows);
  std::iota(positions.begin(), positions.end(), int32_t(first));
  rope.undo(gradient, head_dim, positions);
}

}  // namespace kvsplice::host
