// The statistics of one layer of one signal, from its rows alone.
#pragma once

#include <array>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "analyse/scope.h"
#include "analyse/spectrum.h"
#include "functions/dft.h"
#include "host/model.h"

namespace kvsplice::analyse {

inline constexpr size_t kLags = 50;
inline constexpr size_t kLeastTokens = 64;  // of each text: lags and both halves need rows
// The first tokens of a text (attention sinks) are stored exactly by every cache and have extreme
// norms: they count for what looks along time, as in the study, but not for transforms and means.
inline constexpr size_t kSinks = 4;

struct HeadAnalysis {
  host::Signal signal{};
  int layer = 0, head = 0;              // numbers in the model
  std::vector<double> autocorrelation;  // lags 0 ... kLags
  std::array<double, 4> low_energy{};   // at kLowBands
  RankProfile rank;                     // of the rows as they are, mean included
  double mean_share = 0, kurtosis = 0;
  Rates klt;
  std::vector<double> spectrum;  // principal_shares

  double lag1() const { return autocorrelation[1]; }
  double low10() const { return low_energy[1]; }
};

struct LayerAnalysis {
  host::Signal signal{};
  int layer = 0;
  double lag1 = 0, low10 = 0, rank_ratio = 0, kurtosis = 0;  // means over heads
  double mean_share = 0;
  Rates coordinate, head, whole;  // no transform; a KLT per head; one over all heads
  std::vector<double> spectrum;   // of all heads jointly
};

struct UnitAnalysis {
  std::vector<HeadAnalysis> heads;
  LayerAnalysis layer;
};

// How rows are cut into texts, with what every unit needs again and again.
class Texts {
 public:
  explicit Texts(std::vector<size_t> lengths);  // each at least kLeastTokens

  std::span<const size_t> lengths() const { return lengths_; }
  size_t rows() const { return roles_.size(); }
  const functions::Dft& dft(size_t length) const { return dfts_.at(length); }
  // Which rows learn a basis and which judge it: alternate runs of 32 within each text, so that
  // neighbours, which resemble each other, are mostly on the same side.
  enum class Role : uint8_t { sink, fit, test };
  const std::vector<Role>& roles() const { return roles_; }

 private:
  std::vector<size_t> lengths_;
  std::map<size_t, functions::Dft> dfts_;
  std::vector<Role> roles_;
};

// rows: [texts.rows() x heads * head_dim]. Errors name the first value that is not finite. Heads
// are numbered from 0; the caller says which layer, heads and signal these are.
Result<UnitAnalysis> analyse_unit(MatrixView<const float> rows, size_t head_dim,
                                  const Texts& texts);

}  // namespace kvsplice::analyse
