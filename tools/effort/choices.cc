// Study: what choices by rate, and dependent quantisers of 4 or 8 states, would make of the values
// that `step` sees: D + price R with tables learnt from these codes themselves, the same for all.
// The values are those of the loop as it is; what other choices would do to later values is not in.
//
//   KVS_DUMP=values.bin kvsplice evaluate DUMP CODEC -m M.gguf --block 512 --threads 1 -o DIR
//   c++ -O2 -std=c++20 -I src -I include tools/effort/choices.cc build/src/libkvsplice.a \
//       -lfmt -lhwy -lxxhash -o choices
//   ./choices values.bin STATES SCALE PRICE ROUNDS    # 1, 4 or 8; of the fine step; squared steps
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>
#define private public
#include "range/model.h"
#undef private
#include "core/matrix.h"
#include "range/fit.h"
#include "range/model.h"
using namespace kvsplice;
using namespace kvsplice::range;

struct UnitData {
  int cols = 0;
  std::vector<size_t> starts;
  std::vector<float> v;
  size_t rows() const { return v.size() / cols; }
};
std::map<int, UnitData> load(const char* path) {
  std::map<int, UnitData> all;
  FILE* f = fopen(path, "rb");
  int32_t h[3];
  while (fread(h, 4, 3, f) == 3) {
    UnitData& u = all[h[0]];
    u.cols = h[2];
    if (h[1] == 0) u.starts.push_back(u.rows());
    size_t at = u.v.size();
    u.v.resize(at + 2 * h[2]);
    if (fread(&u.v[at], 4, 2 * h[2], f) != size_t(2 * h[2])) break;
    u.v.resize(at + h[2]);
  }
  fclose(f);
  for (auto& [id, u] : all) {
    UnitData once;
    once.cols = u.cols;
    for (size_t b = 0; b < u.starts.size(); b += 2) {
      size_t from = u.starts[b], to = b + 1 < u.starts.size() ? u.starts[b + 1] : u.rows();
      once.starts.push_back(once.rows());
      once.v.insert(once.v.end(), u.v.begin() + from * u.cols, u.v.begin() + to * u.cols);
    }
    u = once;
  }
  return all;
}
constexpr int kSets = 3;
using Tab = std::vector<std::array<std::array<double, kSymbols>, kClasses>>;  // per set
struct Result_ {
  double bits = 0, err = 0;
  size_t n = 0;
};

Model model_for(const Matrix<int32_t>& codes) {
  Calibration c = calibrate(codes, std::vector<int32_t>(codes.cols(), 0));
  return make_model(c).value();
}
struct Path {
  double cost = 0;
  int32_t sums[32];
  int near = 0;
  int16_t k[512];
};

// kind: 0 scalar, 4 or 8 states dependent quantisation
struct Machine {
  int states;
  const int (*next)[2];
};
const int kNext4[4][2] = {{0, 2}, {2, 0}, {1, 3}, {3, 1}};
const int kNext8[8][2] = {
    {0, 2}, {5, 7}, {1, 3}, {6, 4},
    {2, 0}, {4, 6}, {3, 1}, {7, 5}};  // ECM: 8 states; parity of state picks quantiser below
const int kNext1[1][2] = {{0, 0}};
bool q1_of(int states, int s) { return states == 1 ? false : states == 4 ? s >= 2 : (s & 1); }
int set_of(int states, int s) { return states == 1 ? 0 : q1_of(states, s); }
double recon(int states, int s, int k) {  // in units of the fine step
  if (states == 1) return k;
  return q1_of(states, s) ? 2 * k - (k > 0) + (k < 0) : 2 * k;
}
struct Coded {
  Matrix<int32_t> codes;
  Result_ r;
  Tab counts;
};

// class as Contexts does it, for one path
struct PathContext {
  const Contexts* of = nullptr;
  uint32_t sums[64] = {};
  uint32_t near = 0;
  size_t class_of(size_t g) const {
    const int32_t n = log16(64 * near + 24);
    return size_t(std::clamp<int32_t>((of->base_[g] + of->near_weight_ * n) >> 6, 0, kClasses - 1));
  }
  void push(size_t g, uint32_t sum) {
    sums[g] = sum;
    near += sum;
    if (g >= 4) near -= sums[g - 4];
  }
};
Coded run(const UnitData& u, const Model& model, const Tab& bits, double scale, double lambda,
          const Machine& machine) {
  Coded out;
  out.codes = Matrix<int32_t>(u.rows(), u.cols);
  out.counts.resize(kSets);
  for (auto& s : out.counts)
    for (auto& c : s) c.fill(0);
  const size_t G = model.groups();
  const int S = machine.states;
  std::vector<Path> paths(S), nextp(S);
  size_t block = 0;
  Contexts ctx(model);
  std::vector<int64_t> past;
  for (size_t r = 0; r < u.rows(); ++r) {
    if (block < u.starts.size() && u.starts[block] == r) {
      ctx.~Contexts();
      new (&ctx) Contexts(model);
      ++block;
    }
    ctx.begin_row();
    const float* v = &u.v[r * u.cols];
    // base level of each group: class_of with near_ = 0 gives base; recompute by a trick: use
    // copies of ctx per path
    std::vector<PathContext> pc(S), pn(S);
    for (auto& q : pc) q.of = &ctx;
    for (auto& q : pn) q.of = &ctx;
    std::vector<bool> live(S, false), liven(S);
    live[0] = true;
    for (auto& p : paths) p.cost = 0;
    for (size_t g = 0; g < G; ++g) {
      const size_t first = g * kLanes, lanes = std::min<size_t>(kLanes, u.cols - first);
      // within group classes are fixed per path; trellis over lanes with origin path
      std::vector<size_t> cls(S);
      for (int s = 0; s < S; ++s)
        if (live[s]) cls[s] = pc[s].class_of(g);
      struct Node {
        double cost;
        int origin;
        int16_t k[8];
        uint32_t sum;
        bool live;
      };
      std::vector<Node> nodes(S), nn(S);
      for (int s = 0; s < S; ++s) nodes[s] = {paths[s].cost, s, {}, 0, bool(live[s])};
      for (size_t l = 0; l < lanes; ++l) {
        for (auto& n : nn) n.live = false;
        const double x = v[first + l] / scale;
        for (int s = 0; s < S; ++s) {
          if (!nodes[s].live) continue;
          const size_t index = cls[nodes[s].origin];
          const int low = low_bits_of(index);
          const auto& row = bits[set_of(S, s)][index];
          int cand[4], nc = 0;
          const double a = std::abs(x);
          const int sg = x < 0 ? -1 : 1;
          if (S == 1) {
            int q = int(a + .5);
            cand[nc++] = 0;
            if (q) cand[nc++] = sg * q;
            if (q > 1) cand[nc++] = sg * (q - 1);
          } else {
            int q = q1_of(S, s) ? int((a + 1) / 2 + .5) : int(a / 2 + .5);
            cand[nc++] = 0;
            if (q) cand[nc++] = sg * q;
            if (q > 1) cand[nc++] = sg * (q - 1);
            if (q == 0) {
              cand[nc++] = sg;
            } else
              cand[nc++] = sg * (q + 1);
          }
          for (int i = 0; i < nc; ++i) {
            const int k = cand[i];
            const double e = (x - recon(S, s, k)) * scale;
            const int sym = symbol_of(k >> low);
            const double c =
                nodes[s].cost + e * e + lambda * (row[sym] + low + (sym == kEscape ? 12 : 0));
            const int t = machine.next[s][k & 1];
            if (!nn[t].live || c < nn[t].cost) {
              nn[t] = nodes[s];
              nn[t].cost = c;
              nn[t].k[l] = int16_t(k);
              nn[t].sum = nodes[s].sum + uint32_t(std::abs(k));
            }
          }
        }
        std::swap(nodes, nn);
      }
      for (int s = 0; s < S; ++s) {
        liven[s] = nodes[s].live;
        if (!liven[s]) continue;
        nextp[s] = paths[nodes[s].origin];
        nextp[s].cost = nodes[s].cost;
        pn[s] = pc[nodes[s].origin];
        for (size_t l = 0; l < lanes; ++l) nextp[s].k[first + l] = nodes[s].k[l];
        pn[s].push(g, nodes[s].sum);
      }
      std::swap(paths, nextp);
      std::swap(pc, pn);
      live = liven;
    }
    int best = -1;
    for (int s = 0; s < S; ++s)
      if (live[s] && (best < 0 || paths[s].cost < paths[best].cost)) best = s;
    // count along the best path
    int s = 0;
    for (size_t g = 0; g < G; ++g) {
      const size_t index = ctx.class_of(g);
      const int low = low_bits_of(index);
      uint32_t sum = 0;
      for (size_t c = g * kLanes; c < std::min<size_t>(u.cols, (g + 1) * kLanes); ++c) {
        const int k = paths[best].k[c];
        out.codes(r, c) = k;
        const int sym = symbol_of(k >> low);
        out.counts[set_of(S, s)][index][sym]++;
        out.r.bits += low + (sym == kEscape ? 12 : 0);
        const double e = v[c] - recon(S, s, k) * scale;
        out.r.err += e * e;
        ++out.r.n;
        s = machine.next[s][k & 1];
        sum += cut_magnitude(k);
      }
      ctx.push(g, sum);
    }
    ctx.end_row();
  }
  return out;
}
Tab tables(const Tab& counts) {
  Tab t = counts;
  for (auto& s : t)
    for (size_t k = 0; k < kClasses; ++k) {
      auto& c = s[k];
      // prior: geometric as in fit
      const double expected = std::exp2((double(k) + 0.5) / 4 - 9 - low_bits_of(k));
      const double ratio = (std::sqrt(1 + expected * expected) - 1) / expected;
      double tot = 0;
      std::array<double, kSymbols> n;
      n[0] = (1 - ratio) / (1 + ratio);
      for (int i = 1; i < kEscape; ++i) n[i] = n[0] * std::pow(ratio, std::abs(quotient_of(i)));
      n[kEscape] = 2 * n[0] * std::pow(ratio, 8) / (1 - ratio);
      for (int i = 0; i < int(kSymbols); ++i) {
        n[i] = 8 * n[i] + c[i];
      }
      if (low_bits_of(k) == 0)
        for (int i = 1; i < kEscape; i += 2) n[i] = n[i + 1] = (n[i] + n[i + 1]) / 2;
      for (double x : n) tot += x;
      for (int i = 0; i < int(kSymbols); ++i) c[i] = -std::log2(n[i] / tot);
    }
  return t;
}
double bits_of(const Tab& counts, const Tab& t) {
  double b = 0;
  for (size_t s = 0; s < counts.size(); ++s)
    for (size_t k = 0; k < kClasses; ++k)
      for (size_t i = 0; i < kSymbols; ++i)
        if (counts[s][k][i] > 0) b += counts[s][k][i] * t[s][k][i];
  return b;
}

int main(int argc, char** argv) {
  const auto data = load(argv[1]);
  const int states = atoi(argv[2]);
  const double scale = atof(argv[3]), lambda = atof(argv[4]);
  const int iterations = atoi(argv[5]);
  const Machine m = states == 1   ? Machine{1, kNext1}
                    : states == 4 ? Machine{4, kNext4}
                                  : Machine{8, kNext8};
  Result_ total;
  for (const auto& [id, u] : data) {
    // begin from dead zone rounding
    Matrix<int32_t> codes(u.rows(), u.cols);
    for (size_t i = 0; i < u.v.size(); ++i) {
      float a = std::abs(u.v[i]) / float(scale * (states > 1 ? 2 : 1));
      int q = int(a + .4f);
      codes.flat()[i] = u.v[i] < 0 ? -q : q;
    }
    Model model = model_for(codes);
    Tab t(kSets);
    for (auto& s : t)
      for (size_t k = 0; k < kClasses; ++k) s[k].fill(0);
    t = tables(t);
    Coded c;
    for (int i = 0; i < iterations; ++i) {
      c = run(u, model, t, scale, lambda, m);
      if (i + 1 < iterations) {
        model = model_for(c.codes);
        Coded again = run(u, model, t, scale, lambda, m);
        t = tables(again.counts);
      }
    }
    const Tab own = tables(c.counts);
    total.bits += c.r.bits + bits_of(c.counts, own);
    total.err += c.r.err;
    total.n += c.r.n;
  }
  printf("states %d scale %.3f lambda %.3f: bits %.4f err %.4f J %.5f\n", states, scale, lambda,
         total.bits / total.n, total.err / total.n,
         total.err / total.n + lambda * total.bits / total.n);
}
