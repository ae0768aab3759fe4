// Attention over keys and values that a sine network computes, without ever computing them. The
// read-out is linear, so with h(t) the features of position t (the last one 1)
//
//   scores  q . k(t) = (W_k q) . h(t)              the read-out of keys is absorbed into the query,
//   output  sum_t p_t v(t) = W_v^T sum_t p_t h(t)   that of values is applied once, at the end;
//
// and positions are evenly spaced, so the first layer's sines follow from each other. Heads that
// share a network share its features.
#pragma once

#include "core/matrix.h"
#include "functions/siren.h"

namespace kvsplice::train {

// The sine layers of a network, for n evenly spaced positions.
class SirenTrunk {
 public:
  SirenTrunk(const functions::SirenModel& model, size_t n);

  size_t rows() const { return rows_; }
  size_t hidden() const { return net_.shape.hidden; }
  size_t panels() const { return net_.layout.layers.front().out_panels; }
  size_t panel_width() const { return net_.layout.width; }

  static constexpr size_t kRows = 192;  // most rows at once
  struct Workspace {
    AlignedVector<float> features, below, cosine;
    AlignedVector<float> phase, rise, sine;
  };
  Workspace workspace() const;

  // Features of positions [first, first + count) into work.features, in panels of `count` rows.
  void features(size_t first, size_t count, Workspace& work) const;

 private:
  void first_layer(size_t first, size_t count, Workspace& work) const;

  static constexpr size_t kReseed = 32;  // rows after which the recurrence starts afresh

  size_t rows_;
  functions::PanelNet<float> net_;
  std::vector<double> start_, step_;  // of the first layer's angles, in turns, by unit
  AlignedVector<float> half_, bend_;  // 2 sin(delta / 2), 4 sin^2(delta / 2)
};

// The read-out with the scale of the targets folded in: [hidden + 1 x outputs], the last row for
// the constant feature.
Matrix<float> folded_read_out(const functions::SirenModel& model);

// Absorbed queries [queries x hidden + 1] (times the scale of attention) against features of
// `keys`; the result are features of `values` mixed by softmax over all positions [queries x hidden
// + 1], the last column 1. The two trunks may be one, whose features are then computed once.
Matrix<float> mix_features(const SirenTrunk& keys, const SirenTrunk& values,
                           MatrixView<const float> absorbed);

}  // namespace kvsplice::train
