// Study: bits of the codes that `step` makes, by the calibrated model of `range` and by a logistic
// mix of six adaptive ones: class; column and its recent magnitude; neighbours in the row; the row
// before; magnitudes of the token in two units below, by group; class and the unit below.
//
//   values.bin and the build as in choices.cc, with mixing.cc for choices.cc
//   ./mixing values.bin CODEC FIRST_ROW_COUNTED [63 [RATE]]    # rows before only teach
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <vector>

#include "codec/codec.h"
#include "core/matrix.h"
#include "range/fit.h"
#include "range/model.h"
using namespace kvsplice;
using namespace kvsplice::range;
struct UnitData {
  int cols = 0;
  std::vector<size_t> starts;
  std::vector<int> k;
  size_t rows() const { return k.size() / cols; }
};
std::map<int, UnitData> load(const char* path) {
  std::map<int, UnitData> all;
  FILE* f = fopen(path, "rb");
  int32_t h[3];
  std::vector<float> row;
  while (fread(h, 4, 3, f) == 3) {
    UnitData& u = all[h[0]];
    u.cols = h[2];
    if (h[1] == 0) u.starts.push_back(u.rows());
    row.resize(2 * h[2]);
    if (fread(row.data(), 4, row.size(), f) != row.size()) break;
    for (int c = 0; c < h[2]; ++c) u.k.push_back(int(row[h[2] + c]));
  }
  fclose(f);
  for (auto& [id, u] : all) {
    UnitData once;
    once.cols = u.cols;
    for (size_t b = 0; b < u.starts.size(); b += 2) {
      size_t from = u.starts[b], to = b + 1 < u.starts.size() ? u.starts[b + 1] : u.rows();
      once.starts.push_back(once.rows());
      once.k.insert(once.k.end(), u.k.begin() + from * u.cols, u.k.begin() + to * u.cols);
    }
    u = once;
  }
  return all;
}
Model model_of(const codec::Stage& stage) {
  const codec::State s = stage.save();
  Calibration c;
  auto ints = [&](const char* n) {
    std::vector<int> v;
    for (float x : s.at(n).values) v.push_back(int(x));
    return v;
  };
  c.centre = ints("centre");
  for (int x : ints("mean")) c.mean.push_back(uint32_t(x));
  c.near_weight = ints("weights")[0];
  c.past_weight = ints("weights")[1];
  auto costs = ints("costs");
  for (size_t i = 0; i < costs.size(); ++i) c.costs[i / kSymbols][i % kSymbols] = uint8_t(costs[i]);
  return make_model(c).value();
}
struct Counter {
  float p = .5f;
  int n = 0;
};
inline float st(float p) { return std::log(p / (1 - p)); }
inline float sq(float x) { return 1 / (1 + std::exp(-x)); }
int main(int argc, char** argv) {
  const auto data = load(argv[1]);
  auto codec = codec::Codec::load(argv[2]);
  if (!codec.ok()) {
    puts(codec.error().message.c_str());
    return 1;
  }
  const size_t count_from = size_t(atoi(argv[3]));
  const int use = argc > 4 ? atoi(argv[4]) : 255;
  const float lr = argc > 5 ? atof(argv[5]) : .003f;
  double range_bits = 0, mix_bits = 0, cls_bits = 0;
  size_t n = 0;
  // token activity of units done so far: log ratio of magnitude sum to its mean, by row
  std::map<int, std::vector<float>> activity;
  for (const auto& unit : codec->units()) {
    const int id = unit.unit().layer * 2 + (unit.unit().kind == Kind::value);
    if (!data.count(id)) continue;
    const UnitData& u = data.at(id);
    const Model m = model_of(*unit.stages().back());
    const size_t W = u.cols;
    std::vector<float> act(u.rows());
    std::vector<double> tot(1);
    double mean_sum = 0;
    for (size_t g = 0; g < m.groups(); ++g) mean_sum += m.mean[g] / 64.;
    for (size_t r = 0; r < u.rows(); ++r) {
      double s = 0;
      for (size_t c = 0; c < W; ++c) s += std::abs(u.k[r * W + c]);
      act[r] = std::log2((s + 1) / (mean_sum + 1));
    }
    const std::vector<float>* below1 = unit.unit().kind == Kind::value && activity.count(id - 1)
                                           ? &activity[id - 1]
                                       : activity.count(id - 2) ? &activity[id - 2]
                                                                : nullptr;
    const std::vector<float>* below2 = activity.count(id - 2) ? &activity[id - 2] : nullptr;
    if (unit.unit().kind == Kind::key && activity.count(id - 1)) below1 = &activity[id - 1];
    constexpr int D = 3, M = 6;  // decisions, models
    std::vector<std::array<Counter, D>> t0(kClasses), t1(W * 12), t2(5 * 5 * 16), t3(W * 9),
        t4(8 * 8 * 24), t5(kClasses * 8);
    std::vector<std::array<std::array<float, M + 1>, D>> w(kClasses);
    for (auto& a : w)
      for (auto& b : a) {
        b.fill(.3f);
        b[M] = 0;
      }
    // p of class from the table as prior
    std::vector<float> ema(W, 0.f);
    for (size_t c = 0; c < W; ++c) ema[c] = m.mean[c / 8] / 64.f / 8;
    Contexts ctx(m);
    size_t block = 0;
    for (size_t r = 0; r < u.rows(); ++r) {
      if (block < u.starts.size() && u.starts[block] == r) {
        ctx.~Contexts();
        new (&ctx) Contexts(m);
        ++block;
        for (size_t c = 0; c < W; ++c) ema[c] = m.mean[c / 8] / 64.f / 8;
      }
      ctx.begin_row();
      const int* k = &u.k[r * W];
      const int* up = r ? k - W : nullptr;
      for (size_t g = 0; g < m.groups(); ++g) {
        const size_t index = ctx.class_of(g);
        const ClassTable& tab = m.classes[index];
        uint32_t sum = 0;
        for (size_t c = g * 8; c < std::min(W, g * 8 + 8); ++c) {
          const int own = k[c] - m.centre[c];
          const int mag = std::abs(own);
          sum += cut_magnitude(own);
          const int sym = symbol_of(own >> tab.low_bits);
          const bool counted = r >= count_from;
          if (counted) {
            range_bits += kTotalBits - std::log2(double(tab.frequency[sym])) + tab.low_bits +
                          (sym == kEscape ? 8 : 0);
            ++n;
          }
          auto clip = [](int x, int m) {
            x = std::abs(x);
            return x > m ? m : x;
          };
          const int l1 = c > 0 ? clip(k[c - 1], 4) : 0, l2 = c > 1 ? clip(k[c - 2], 4) : 0;
          const int e = std::clamp(int(std::log2(ema[c] * 64 + 1) * 1.5f), 0, 11);
          const int ups = up ? clip(up[c], 2) * 3 + clip((c > 0 ? clip(up[c - 1], 2) : 0) +
                                                             (c + 1 < W ? clip(up[c + 1], 2) : 0),
                                                         2)
                             : 0;
          const int a1 = below1 ? std::clamp(int((*below1)[r] * 2 + 4), 0, 7) : 3,
                    a2 = below2 ? std::clamp(int((*below2)[r] * 2 + 4), 0, 7) : 3;
          for (int d = 0; d <= std::min(mag, 14); ++d) {
            const int j = std::min(d, D - 1);
            const int bit = mag > d;
            Counter* cs[M] = {&t0[index][j],
                              &t1[c * 12 + e][j],
                              &t2[(l1 * 5 + l2) * 16 + std::min<int>(int(index) / 5, 15)][j],
                              &t3[c * 9 + ups][j],
                              &t4[(a1 * 8 + a2) * 24 + std::min<size_t>(g, 23)][j],
                              &t5[index * 8 + a1][j]};
            float x[M + 1];
            x[M] = .3f;
            float dot = 0;
            auto& ww = w[index][j];
            for (int i = 0; i < M; ++i) {
              float p = std::clamp(cs[i]->p, 1e-4f, 1 - 1e-4f);
              x[i] = (use >> i & 1) ? st(p) : 0;
            }
            for (int i = 0; i <= M; ++i) dot += ww[i] * x[i];
            const float p = std::clamp(sq(dot), 2e-5f, 1 - 2e-5f);
            const float pc = std::clamp(cs[0]->p, 1e-4f, 1 - 1e-4f);
            if (counted) {
              mix_bits -= std::log2(bit ? p : 1 - p);
              cls_bits -= std::log2(bit ? pc : 1 - pc);
            }
            for (int i = 0; i <= M; ++i) ww[i] += lr * (bit - p) * x[i];
            for (int i = 0; i < M; ++i) {
              Counter& q = *cs[i];
              const float rate = std::max(1.f / (q.n + 1.5f), 1.f / 500);
              q.p += (bit - q.p) * rate;
              ++q.n;
            }
            if (!bit) break;
          }
          if (counted && mag) {
            mix_bits += 1;
            cls_bits += 1;
          }
          ema[c] += (mag - ema[c]) / 12;
        }
        ctx.push(g, sum);
      }
      ctx.end_row();
    }
    activity[id] = std::move(act);
  }
  printf("use %d lr %.4f: range %.4f class-adaptive %.4f mix %.4f (%.2f %%) n %zu\n", use, lr,
         range_bits / n, cls_bits / n, mix_bits / n, 100 * (mix_bits / range_bits - 1), n);
}
