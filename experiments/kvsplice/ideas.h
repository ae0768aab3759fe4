// The seed's list of future work, an idea at a time: errors at the same bytes as a plain PCA.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/matrix.h"
#include "core/progress.h"
#include "experiments/kvsplice/kept.h"
#include "experiments/kvsplice/options.h"

namespace kvsplice::experiment {

// Rows of one source: GeometricMix, or the keys or values of a layer.
struct IdeaData {
  std::string name;
  Matrix<float> train, test;
  size_t heads = 1;  // that stand side by side
  size_t rank = 8;   // f16 coordinates of it set the bytes that every method gets
  // Of the decoded test rows; empty where nothing attends.
  std::function<Result<double>(MatrixView<const float>)> attention_error;
};

struct IdeaRow {
  std::string idea, data, method;
  double bytes;            // of a row; with what an adapting codec sends besides
  double error;            // rms error / rms about the mean
  double attention_error;  // NaN where nothing attends
};

void plan_ideas(const IdeaData& data, const StudyOptions& options, Kept& kept);
std::vector<IdeaRow> ideas_of(const IdeaData& data, const StudyOptions& options, const Kept& kept);

}  // namespace kvsplice::experiment
