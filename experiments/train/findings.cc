#include <fmt/format.h>

#include <cmath>

#include "experiments/train/study.h"

namespace kvsplice::experiment::train {

namespace {

std::string text_of(const Spread& s) {
  if (s.count == 0) return "not reached";
  if (s.count == 1) return fmt::format("{:+.4f} (one seed)", s.mean);
  return fmt::format("{:+.4f} +- {:.4f}", s.mean, s.error);
}

// In words, beyond two standard errors or not.
std::string verdict(const Spread& s) {
  if (s.count < 2) return "";
  if (std::abs(s.mean) <= 2 * s.error) return ", within 2 standard errors";
  return s.mean < 0 ? ", better beyond 2 standard errors" : ", worse beyond 2 standard errors";
}

// By how much a variant is better than another within the bytes of all budgets.
std::string by_budget(const Study& study, const std::string& variant, const std::string& other) {
  std::string list;
  for (const int part : kBudgets) {
    const Spread s = difference_within(study, variant, other, study.full_bytes() / part);
    list += fmt::format("{}1/{}: {}", list.empty() ? "" : "; ", part, text_of(s));
  }
  return list;
}

// At how many budgets it is better beyond two standard errors.
int wins(const Study& study, const std::string& variant, const std::string& other) {
  int count = 0;
  for (const int part : kBudgets) {
    const Spread s = difference_within(study, variant, other, study.full_bytes() / part);
    count += s.count > 1 && s.mean < -2 * s.error;
  }
  return count;
}

}  // namespace

std::vector<std::string> findings(const Study& study) {
  std::vector<std::string> all;
  for (const char* linear : {"linear", "affine"}) {
    if (!study.has(linear) || !study.has("latent_8th")) continue;
    const Spread s = difference(study, linear, "latent_8th", "f16");
    all.push_back(fmt::format(
        "{} (a latent squeezed by linear maps, which multiply out) against a plain latent of the "
        "same size, in f16: {} nats per byte{}.",
        linear, text_of(s), verdict(s)));
  }
  for (const char* warp : {"spline", "flow"}) {
    if (!study.has(warp) || !study.has("normed")) continue;
    const Spread s = difference(study, warp, "normed", "f16");
    all.push_back(fmt::format(
        "Does a warp trained into the model help? {} against the same without it, in f16: {} nats "
        "per byte{}; coded, within parts of the f16 bytes, {}: better beyond 2 standard errors at "
        "{} of {}.",
        warp, text_of(s), verdict(s), by_budget(study, warp, "normed"), wins(study, warp, "normed"),
        std::size(kBudgets)));
  }
  for (const char* latent : {"latent_4th", "latent_8th", "rate"}) {
    if (!study.has(latent)) continue;
    all.push_back(
        fmt::format("{} against the full cache, both stored within parts of the f16 "
                    "bytes, nats per byte: {}.",
                    latent, by_budget(study, latent, "full")));
  }
  return all;
}

}  // namespace kvsplice::experiment::train
