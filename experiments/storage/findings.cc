#include <fmt/format.h>

#include <algorithm>

#include "experiments/storage/outputs.h"

namespace kvsplice::experiment::storage {

namespace {

std::string reached(const Goal& g) {
  if (!g.ratio) return "is not reached at any step measured";
  return fmt::format("{}{:.1f}x", g.beyond ? "at least " : "", *g.ratio);
}

std::vector<std::string> goal_findings(const Study& study) {
  std::vector<std::string> lines;
  const auto goals = goals_of(study);
  for (const Goal& g : goals) {
    if (g.method != kCodec) continue;
    const char* verdict = g.ratio && *g.ratio >= g.wanted ? "reached" : "missed";
    std::string line = fmt::format(
        "{}, {} tokens, at the divergence of {} ({:.4f}): the codec {} (goal {:.0f}x: {})", g.text,
        g.ctx, g.at, g.kld, reached(g), g.wanted, verdict);
    std::string others;
    for (const Goal& other : goals) {
      if (other.text != g.text || other.ctx != g.ctx || other.at != g.at) continue;
      if (other.method == kCodec) continue;
      const std::string ratio =
          other.ratio ? fmt::format("{}{:.1f}x", other.beyond ? "at least " : "", *other.ratio)
                      : "not reached";
      others += fmt::format("{}{} {}", others.empty() ? "" : ", ", other.method, ratio);
    }
    lines.push_back(line + (others.empty() ? "" : "; " + others) + ".");
  }
  return lines;
}

double mean(const std::vector<Restored>& rows, const std::string& cache,
            const std::function<double(const Restored&)>& of) {
  double sum = 0, count = 0;
  for (const Restored& r : rows) {
    if (r.cache == cache) sum += of(r), ++count;
  }
  return sum / count;
}

std::vector<std::string> names_of(const std::vector<Restored>& rows) {
  std::vector<std::string> names;
  for (const Restored& r : rows) {
    if (std::find(names.begin(), names.end(), r.cache) == names.end()) names.push_back(r.cache);
  }
  return names;
}

std::string list(const std::vector<Restored>& rows, const char* unit,
                 const std::function<double(const Restored&)>& of) {
  std::string text;
  for (const auto& name : names_of(rows)) {
    const double ratio = mean(rows, name, [](const Restored& r) { return r.ratio; });
    text += fmt::format("{}{} ({:.1f}x) {:.1f}{}", text.empty() ? "" : ", ", name, ratio,
                        mean(rows, name, of), unit);
  }
  return text;
}

double share(const Restored& r) {
  double sum = 0;
  for (double s : r.share) sum += s;
  return 100 * sum / double(r.share.size());
}

double exact(const Restored& r) {
  double sum = 0;
  for (size_t i = 0; i < r.tokens.size(); ++i) sum += r.until_divergence[i] == r.tokens[i];
  return 100 * sum / double(r.tokens.size());
}

std::vector<std::string> prompt_findings(const Study& study) {
  std::vector<std::string> lines;
  if (!study.retrieval.empty()) {
    lines.push_back("Values retrieved word for word: " + list(study.retrieval, " %", exact) + ".");
    lines.push_back("Tokens of the values that were the likeliest: " +
                    list(study.retrieval, " %", share) + ".");
  }
  if (!study.greedy.empty()) {
    const auto until = [](const Restored& r) { return double(r.until_divergence[0]); };
    lines.push_back(fmt::format("Greedy decoding goes as with f16 for so many of {} tokens: {}.",
                                study.greedy[0].tokens[0], list(study.greedy, "", until)));
  }
  return lines;
}

std::vector<std::string> calibration_findings(const Study& study) {
  std::vector<std::string> lines;
  for (const Measured& m : study.calibration) {
    lines.push_back(fmt::format("Fitted on {} ({} tokens): {:.1f}x at a mean KLD of {:.4f} on {}.",
                                m.method, m.fitted, m.outcome.ratio, m.outcome.kld_mean, m.text));
  }
  return lines;
}

}  // namespace

std::vector<std::string> findings(const Study& study) {
  std::vector<std::string> all;
  for (const auto& lines :
       {goal_findings(study), prompt_findings(study), calibration_findings(study)}) {
    all.insert(all.end(), lines.begin(), lines.end());
  }
  return all;
}

}  // namespace kvsplice::experiment::storage
