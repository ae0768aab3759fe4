#include "experiments/train/study.h"

#include <algorithm>
#include <cmath>

#include "experiments/train/judge.h"

namespace kvsplice::experiment::train {

namespace {

using Value = std::function<std::optional<double>(int seed, const std::string& text)>;

// The mean over test texts, seed by seed, of the difference of two.
Spread paired(const Study& study, const Value& one, const Value& other) {
  std::vector<double> differences;
  for (int seed = 0; seed < study.options.seeds; ++seed) {
    double sum = 0;
    for (size_t t = 1; t < study.texts.size(); ++t) {
      const auto a = one(seed, study.texts[t]), b = other(seed, study.texts[t]);
      if (!a || !b) return {};
      sum += (*a - *b) / double(study.texts.size() - 1);
    }
    differences.push_back(sum);
  }
  return spread_of(differences);
}

}  // namespace

double Study::full_bytes() const { return point("full", 0, texts[0], "f16").bytes_per_token; }

const Variant& Study::variant(const std::string& name) const {
  return *std::find_if(variants.begin(), variants.end(),
                       [&](const Variant& v) { return v.name == name; });
}

bool Study::has(const std::string& name) const {
  return std::any_of(variants.begin(), variants.end(),
                     [&](const Variant& v) { return v.name == name; });
}

const Point& Study::point(const std::string& variant, int seed, const std::string& text,
                          const std::string& store) const {
  return *std::find_if(found.points.begin(), found.points.end(), [&](const Point& p) {
    return p.variant == variant && p.seed == seed && p.text == text && p.store == store;
  });
}

std::optional<double> Study::within(const std::string& variant, int seed, const std::string& text,
                                    double bytes) const {
  std::optional<double> best;
  const auto take = [&](double nats) { best = std::min(best.value_or(nats), nats); };
  const Point* finer = nullptr;  // the step before
  for (const Store& store : stores_of(options)) {
    const Point& p = point(variant, seed, text, store.name);
    if (p.bytes_per_token <= bytes) take(p.nats_per_byte);
    if (finer != nullptr && p.bytes_per_token <= bytes && bytes < finer->bytes_per_token) {
      const double part = std::log(bytes / p.bytes_per_token) /
                          std::log(finer->bytes_per_token / p.bytes_per_token);
      take(p.nats_per_byte + part * (finer->nats_per_byte - p.nats_per_byte));
    }
    if (store.delta > 0) finer = &p;
  }
  return best;
}

Spread spread_of(const std::vector<double>& values) {
  Spread s;
  s.count = values.size();
  for (const double v : values) s.mean += v / double(s.count);
  double squares = 0;
  for (const double v : values) squares += (v - s.mean) * (v - s.mean);
  if (s.count > 1) s.error = std::sqrt(squares / double(s.count * (s.count - 1)));
  return s;
}

Spread difference(const Study& study, const std::string& variant, const std::string& other,
                  const std::string& store) {
  const auto of = [&](const std::string& name) -> Value {
    return [&study, name, &store](int seed, const std::string& text) {
      return std::optional(study.point(name, seed, text, store).nats_per_byte);
    };
  };
  return paired(study, of(variant), of(other));
}

Spread difference_within(const Study& study, const std::string& variant, const std::string& other,
                         double bytes) {
  const auto of = [&](const std::string& name) -> Value {
    return [&study, name, bytes](int seed, const std::string& text) {
      return study.within(name, seed, text, bytes);
    };
  };
  return paired(study, of(variant), of(other));
}

}  // namespace kvsplice::experiment::train
