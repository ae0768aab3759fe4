// Derivatives of the recurrences of hybrid models, over the tokens of one sequence: what they hold
// is computed again on the way back, so that nothing but their inputs need be kept. Checked against
// differences in recurrences_test.cc.
#pragma once

#include <span>
#include <vector>

namespace kvsplice::host {

// y(t) [channels] = sum over i of x(t + i) w(i); x: [channels x tokens + taps - 1],
// w: [channels x taps]. The gradient of x; dy: [tokens x channels].
std::vector<float> convolution_back(std::span<const float> w, size_t taps, size_t tokens,
                                    std::span<const float> dy);

// Selective scan (Mamba): of each row of `dim` of each head, with d = softplus(dt),
//   h(t) = exp(d a) h(t - 1) + d x(t) b(t), y(t) = <c(t), h(t)>.
// x, y: [tokens x heads x dim], dt: [tokens x heads], a: [heads x 1 or states], b, c:
// [tokens x groups x states], shared by the heads of a group. start: [heads x dim x states], or
// none for zeros.
struct Scan {
  size_t tokens, heads, groups, dim, states;
  std::span<const float> x, dt, a, b, c, start;
};
struct ScanGradient {
  std::vector<float> x, dt, b, c;
};
// dend: of the state behind the last token, like start.
ScanGradient scan_back(const Scan& scan, std::span<const float> dy, std::span<const float> dend);

// Gated delta rule: of each head, whose state m is [width x width], a row of it for each value,
//   m(t)' = m(t - 1) exp(gate(t)), a column's or all by one; e = v(t) - m(t)' k(t),
//   m(t) = m(t)' + beta(t) e k(t)^T, y(t) = m(t) q(t) / sqrt(width).
// q, k: [tokens x shared x width], where head h has row h modulo `shared`; v, y:
// [tokens x heads x width], gate: [tokens x heads x 1 or width], beta: [tokens x heads]. start:
// [heads x width x width], or none for zeros.
struct DeltaRule {
  size_t tokens, heads, shared, width, gates;  // gates: 1 or width
  std::span<const float> q, k, v, gate, beta, start;
};
struct DeltaGradient {
  std::vector<float> q, k, v, gate, beta;
};
DeltaGradient delta_back(const DeltaRule& rule, std::span<const float> dy,
                         std::span<const float> dend);

}  // namespace kvsplice::host
