// What the measurements say: means over seeds, and differences paired by seed.
#pragma once

#include <optional>

#include "experiments/train/runs.h"
#include "report/figure.h"
#include "report/table.h"

namespace kvsplice::experiment::train {

struct Study {
  Options options;
  std::vector<Variant> variants;
  std::vector<std::string> texts;  // judged, "choice" first
  Measurements found;

  double full_bytes() const;  // of a token in f16, as `full` caches it
  const Variant& variant(const std::string& name) const;
  bool has(const std::string& name) const;
  const Point& point(const std::string& variant, int seed, const std::string& text,
                     const std::string& store) const;
  // The best that a model does with at most so many bytes a token: of its points, and of the lines
  // between steps of the codec, straight in the logarithm of bytes. Nothing if all take more.
  std::optional<double> within(const std::string& variant, int seed, const std::string& text,
                               double bytes) const;
};

// Of one number for each seed.
struct Spread {
  double mean = 0, error = 0;  // standard error of the mean; 0 of one seed
  size_t count = 0;
};
Spread spread_of(const std::vector<double>& values);

// Nats per byte of text, a variant's less another's, with the same seed, on all test texts
// together: stored in one way, or within so many bytes. Without numbers if a seed has none.
Spread difference(const Study& study, const std::string& variant, const std::string& other,
                  const std::string& store);
Spread difference_within(const Study& study, const std::string& variant, const std::string& other,
                         double bytes);

// Parts of the bytes of `full` in f16 at which models are compared.
inline constexpr int kBudgets[] = {8, 16, 32, 64};

std::vector<report::Table> tables(const Study& study);
std::vector<report::Figure> figures(const Study& study);
std::vector<std::string> findings(const Study& study);

}  // namespace kvsplice::experiment::train
