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

// What a model loses that attends to nothing.
Spread worth_of(const Study& study) {
  std::vector<double> lost;
  for (int seed = 0; seed < study.options.seeds; ++seed) {
    double sum = 0;
    for (size_t t = 1; t < study.texts.size(); ++t) {
      const auto& text = study.texts[t];
      sum += (study.point("full", seed, text, "none").nats_per_byte -
              study.point("full", seed, text, "f16").nats_per_byte) /
             double(study.texts.size() - 1);
    }
    lost.push_back(sum);
  }
  return spread_of(lost);
}

// Of a variant and what it is compared with: in f16, and coded.
std::string compared(const Study& study, const std::string& variant, const std::string& other) {
  const Spread s = difference(study, variant, other, "f16");
  return fmt::format(
      "{} against {}: {} nats per byte in f16{}; coded within parts of the f16 bytes, {}.", variant,
      other, text_of(s), verdict(s), by_budget(study, variant, other));
}

}  // namespace

std::vector<std::string> findings(const Study& study) {
  std::vector<std::string> all;
  const auto say = [&](const std::string& introduction, const char* variant, const char* other) {
    if (!study.has(variant) || !study.has(other)) return;
    all.push_back(introduction + compared(study, variant, other));
  };
  for (const char* warp : {"spline", "flow"}) {
    say("Does a warp trained into the model help? The same with and without it: ", warp, "normed");
    if (!study.has(warp) || !study.has("normed")) continue;
    all.back() += fmt::format(" It is better beyond 2 standard errors at {} of {} sizes.",
                              wins(study, warp, "normed"), std::size(kBudgets));
    say("The same warp beside a plain latent of as many numbers: ", warp, "latent_8th");
  }
  say("The seed's layer B and the control that was never run, linear maps as deep: ", "affine",
      "linear");
  say("A plain latent can do what B can, as linear maps multiply out; what depth does to "
      "learning: ",
      "linear", "latent_8th");
  for (const char* variant : {"latent_4th", "latent_8th", "latent_16th", "grouped", "rate"}) {
    say("", variant, "full");
  }
  all.push_back(fmt::format("What the cache is worth at all, of the full one: {} nats per byte.",
                            text_of(worth_of(study))));
  say("Converted in a fifth of the steps: ", "converted_8th", "latent_8th");
  return all;
}

}  // namespace kvsplice::experiment::train
