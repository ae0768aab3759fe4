#include "host/recurrences.h"

#include <algorithm>
#include <cmath>

#include "core/threads.h"

namespace kvsplice::host {

namespace {

float softplus(float x) { return x > 20 ? x : std::log1p(std::exp(x)); }
float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }

// Of a row of a head of a scan, with room for what it holds behind every token.
class ScanRow {
 public:
  ScanRow(const Scan& scan, ScanGradient& gradient)
      : s_(scan), g_(gradient), held_((scan.tokens + 1) * scan.states), l_(scan.states) {}

  void step_back(size_t head, size_t row, std::span<const float> dy, std::span<const float> dend,
                 std::span<float> db, std::span<float> dc) {
    head_ = head;
    const size_t first = (head * s_.dim + row) * s_.states;
    hold(first, row);
    for (size_t j = 0; j < s_.states; ++j) l_[j] = dend.empty() ? 0 : dend[first + j];
    for (size_t t = s_.tokens; t-- > 0;) step_back(t, row, dy, db, dc);
  }

 private:
  size_t input(size_t t, size_t row) const { return (t * s_.heads + head_) * s_.dim + row; }
  size_t group(size_t t) const {
    return (t * s_.groups + head_ / (s_.heads / s_.groups)) * s_.states;
  }
  float a(size_t j) const {
    const size_t of_head = s_.a.size() / s_.heads;
    return s_.a[head_ * of_head + (of_head == 1 ? 0 : j)];
  }

  void hold(size_t first, size_t row) {
    for (size_t j = 0; j < s_.states; ++j) held_[j] = s_.start.empty() ? 0 : s_.start[first + j];
    for (size_t t = 0; t < s_.tokens; ++t) {
      const float d = softplus(s_.dt[t * s_.heads + head_]), dx = d * s_.x[input(t, row)];
      const float *before = &held_[t * s_.states], *b = &s_.b[group(t)];
      float* h = &held_[(t + 1) * s_.states];
      for (size_t j = 0; j < s_.states; ++j) h[j] = std::exp(d * a(j)) * before[j] + dx * b[j];
    }
  }

  void step_back(size_t t, size_t row, std::span<const float> dy, std::span<float> db,
                 std::span<float> dc) {
    const size_t at = input(t, row), of_dt = t * s_.heads + head_, of_group = group(t);
    const float d = softplus(s_.dt[of_dt]), x = s_.x[at], out = dy[at];
    const float *before = &held_[t * s_.states], *h = before + s_.states;
    const float *b = &s_.b[of_group], *c = &s_.c[of_group];
    float along_b = 0, decay = 0;
    for (size_t j = 0; j < s_.states; ++j) {
      l_[j] += c[j] * out;
      dc[of_group + j] += h[j] * out;
      db[of_group + j] += d * x * l_[j];
      along_b += b[j] * l_[j];
      const float kept = std::exp(d * a(j)) * l_[j];
      decay += kept * a(j) * before[j];
      l_[j] = kept;
    }
    g_.x[at] = d * along_b;
    g_.dt[of_dt] += (decay + x * along_b) * sigmoid(s_.dt[of_dt]);
  }

  const Scan& s_;
  ScanGradient& g_;
  size_t head_ = 0;
  std::vector<float> held_, l_;
};

// Of a head of a delta rule. States behind every kStride-th token are kept, and those between
// computed again where they are needed.
class DeltaHead {
 public:
  DeltaHead(const DeltaRule& rule, size_t head, DeltaGradient& gradient)
      : r_(rule), g_(gradient), head_(head), size_(rule.width * rule.width) {}

  void step_back(std::span<const float> dy, std::span<const float> dend) {
    keep_some();
    l_.assign(size_, 0);
    if (!dend.empty()) std::copy_n(&dend[head_ * size_], size_, l_.begin());
    for (size_t i = kept_.size() / size_; i-- > 0;) {
      const size_t first = i * kStride, n = std::min(kStride, r_.tokens - first);
      between_.assign((n + 1) * size_, 0);
      std::copy_n(&kept_[i * size_], size_, between_.begin());
      for (size_t t = 0; t + 1 < n; ++t) {
        std::copy_n(&between_[t * size_], size_, &between_[(t + 1) * size_]);
        step(first + t, &between_[(t + 1) * size_]);
      }
      for (size_t t = n; t-- > 0;) step_back(first + t, &between_[t * size_], dy);
    }
  }

 private:
  static constexpr size_t kStride = 64;

  size_t shared(size_t t) const { return (t * r_.shared + head_ % r_.shared) * r_.width; }
  size_t own(size_t t) const { return t * r_.heads + head_; }

  // What the state is before the first token of each stride.
  void keep_some() {
    std::vector<float> m(size_);
    if (!r_.start.empty()) std::copy_n(&r_.start[head_ * size_], size_, m.begin());
    for (size_t t = 0; t < r_.tokens; ++t) {
      if (t % kStride == 0) kept_.insert(kept_.end(), m.begin(), m.end());
      step(t, m.data());
    }
  }

  void decay(size_t t, float* m) const {
    const float* gate = &r_.gate[own(t) * r_.gates];
    std::vector<float> factor(r_.width);
    for (size_t i = 0; i < r_.width; ++i) factor[i] = std::exp(gate[r_.gates == 1 ? 0 : i]);
    for (size_t j = 0; j < r_.width; ++j) {
      for (size_t i = 0; i < r_.width; ++i) m[j * r_.width + i] *= factor[i];
    }
  }

  // What the decayed state lacks of the values.
  std::vector<float> rest(size_t t, const float* m) const {
    const float *k = &r_.k[shared(t)], *v = &r_.v[own(t) * r_.width];
    std::vector<float> e(r_.width);
    for (size_t j = 0; j < r_.width; ++j) {
      float sum = 0;
      for (size_t i = 0; i < r_.width; ++i) sum += m[j * r_.width + i] * k[i];
      e[j] = v[j] - sum;
    }
    return e;
  }

  void add_rest(size_t t, const std::vector<float>& e, float* m) const {
    const float *k = &r_.k[shared(t)], beta = r_.beta[own(t)];
    for (size_t j = 0; j < r_.width; ++j) {
      for (size_t i = 0; i < r_.width; ++i) m[j * r_.width + i] += beta * e[j] * k[i];
    }
  }

  void step(size_t t, float* m) const {
    decay(t, m);
    add_rest(t, rest(t, m), m);
  }

  // before: the state before token t.
  void step_back(size_t t, const float* before, std::span<const float> dy) {
    const size_t n = r_.width;
    std::vector<float> decayed(before, before + size_);
    decay(t, decayed.data());
    const std::vector<float> e = rest(t, decayed.data());
    std::vector<float> m = decayed;
    add_rest(t, e, m.data());

    const float *q = &r_.q[shared(t)], *k = &r_.k[shared(t)], *out = &dy[own(t) * n];
    float *dq = &g_.q[shared(t)], *dk = &g_.k[shared(t)], *dv = &g_.v[own(t) * n];
    const float scale = 1 / std::sqrt(float(n)), beta = r_.beta[own(t)];
    std::vector<float> gate(n);
    float d_beta = 0;
    for (size_t j = 0; j < n; ++j) {
      float *l = &l_[j * n], *was = &decayed[j * n];
      const float* is = &m[j * n];
      float along_k = 0;
      for (size_t i = 0; i < n; ++i) {
        dq[i] += scale * is[i] * out[j];
        l[i] += scale * out[j] * q[i];
        along_k += l[i] * k[i];
      }
      const float de = beta * along_k;
      d_beta += along_k * e[j];
      dv[j] = de;
      for (size_t i = 0; i < n; ++i) {
        dk[i] += beta * e[j] * l[i] - de * was[i];
        l[i] -= de * k[i];
        gate[i] += l[i] * was[i];
      }
    }
    g_.beta[own(t)] = d_beta;
    float* d_gate = &g_.gate[own(t) * r_.gates];
    for (size_t i = 0; i < n; ++i) d_gate[r_.gates == 1 ? 0 : i] += gate[i];
    decay(t, l_.data());
  }

  const DeltaRule& r_;
  DeltaGradient& g_;
  size_t head_, size_;
  std::vector<float> kept_, between_, l_;
};

}  // namespace

std::vector<float> convolution_back(std::span<const float> w, size_t taps, size_t tokens,
                                    std::span<const float> dy) {
  const size_t channels = w.size() / taps, width = tokens + taps - 1;
  std::vector<float> dx(channels * width);
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t c = 0; c < channels; ++c) {
      const float out = dy[t * channels + c];
      for (size_t i = 0; i < taps; ++i) dx[c * width + t + i] += out * w[c * taps + i];
    }
  }
  return dx;
}

ScanGradient scan_back(const Scan& scan, std::span<const float> dy, std::span<const float> dend) {
  constexpr size_t kChunks = 16;  // of heads, each with sums of its own
  ScanGradient g{std::vector<float>(scan.x.size()), std::vector<float>(scan.dt.size()),
                 std::vector<float>(scan.b.size()), std::vector<float>(scan.c.size())};
  std::vector<std::vector<float>> db(kChunks), dc(kChunks);
  parallel_for(kChunks, [&](size_t chunk) {
    db[chunk].resize(scan.b.size());
    dc[chunk].resize(scan.c.size());
    ScanRow row(scan, g);
    const size_t end = (chunk + 1) * scan.heads / kChunks;
    for (size_t head = chunk * scan.heads / kChunks; head < end; ++head) {
      for (size_t i = 0; i < scan.dim; ++i) row.step_back(head, i, dy, dend, db[chunk], dc[chunk]);
    }
  });
  for (size_t chunk = 0; chunk < kChunks; ++chunk) {
    for (size_t i = 0; i < g.b.size(); ++i) g.b[i] += db[chunk][i];
    for (size_t i = 0; i < g.c.size(); ++i) g.c[i] += dc[chunk][i];
  }
  return g;
}

DeltaGradient delta_back(const DeltaRule& rule, std::span<const float> dy,
                         std::span<const float> dend) {
  DeltaGradient g{std::vector<float>(rule.q.size()), std::vector<float>(rule.k.size()),
                  std::vector<float>(rule.v.size()), std::vector<float>(rule.gate.size()),
                  std::vector<float>(rule.beta.size())};
  parallel_for(rule.shared, [&](size_t first) {  // heads that share keys, one behind the other
    for (size_t head = first; head < rule.heads; head += rule.shared) {
      DeltaHead(rule, head, g).step_back(dy, dend);
    }
  });
  return g;
}

}  // namespace kvsplice::host
