// Rows of a model's cache, and what attention makes of decoded ones.
#pragma once

#include <filesystem>

#include "experiments/kvsplice/options.h"
#include "extract/dump.h"

namespace kvsplice::experiment {

// One head of a layer, or all of them side by side.
struct Place {
  static constexpr int kAllHeads = -1;
  host::Signal signal = host::Signal::value;
  int layer = 0;
  int head = kAllHeads;
};

constexpr host::Signal kCacheSignals[] = {host::Signal::key_before_rope, host::Signal::key,
                                          host::Signal::value};

// Caches of the texts for fitting and of the text for testing, without the first tokens of each,
// which stay exact in use and whose outliers would spoil the statistics.
class Caches {
 public:
  static constexpr size_t kSinks = 4;

  // Writes two dumps into `dir`.
  static Result<Caches> extract(const host::Model& model, const StudyOptions& options,
                                const std::filesystem::path& dir, const Progress& progress);

  const std::vector<int>& layers() const { return layers_; }
  const std::string& train_path() const { return train_.path(); }
  size_t heads(int layer) const;
  Result<Matrix<float>> train(const Place& place) const;
  Result<Matrix<float>> test(const Place& place) const;
  // Relative rms error of attention's output on the test text, sinks exact, when `decoded` (as
  // test(place)) stands for the rows.
  Result<double> attention_error(const Place& place, MatrixView<const float> decoded) const;

 private:
  Caches(extract::Dump train, extract::Dump test, std::vector<int> layers)
      : train_(std::move(train)), test_(std::move(test)), layers_(std::move(layers)) {}
  const LayerShape& shape(int layer) const;
  Result<Matrix<float>> rows(const extract::Dump& dump, const Place& place) const;
  Result<Matrix<float>> keys(const Place& place, MatrixView<const float> decoded) const;

  extract::Dump train_, test_;
  std::vector<int> layers_;
};

}  // namespace kvsplice::experiment
