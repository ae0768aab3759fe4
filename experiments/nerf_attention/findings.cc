#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "experiments/nerf_attention/study.h"

namespace kvsplice::experiment::nerf {

namespace {

bool is_key(const FitJob& job) { return job.signal == Signal::key; }
bool is_value(const FitJob& job) { return job.signal == Signal::value; }

std::string on_cosines(const Study& study) {
  const Spread keys = cosines(study, study.jobs.sweep, is_key);
  const Spread values = cosines(study, study.jobs.sweep, is_value);
  return fmt::format(
      "Mean cosine of {} networks: keys {:.4f}, values {:.4f} (the seed's Llama-3.1-8B: .9115 and "
      ".6719).",
      keys.count() + values.count(), keys.mean(), values.mean());
}

std::string on_rotating_mean(const Study& study) {
  Spread rotated, stored, network, gain;
  for (const auto& m : means_against_networks(study, "medium")) {
    rotated.add(m.rotated_mean);
    stored.add(m.stored_mean);
    network.add(m.network);
    gain.add(m.network - m.rotated_mean);
  }
  return fmt::format(
      "One vector rotated by its position reaches a mean cosine of {:.4f} with stored keys, the "
      "medium network {:.4f} (gain {:+.4f}, deviation {:.4f} over heads), a constant vector "
      "{:.4f}.",
      rotated.mean(), network.mean(), gain.mean(), gain.deviation(), stored.mean());
}

std::string on_svd(const Study& study) {
  const auto svd = [&](Signal signal) {
    return cosines(study.svd,
                   [&](const Baseline& b) { return b.target == 2 && b.signal == signal; })
        .mean();
  };
  const FitRecord* medium = nullptr;
  for (const FitJob& job : study.jobs.sweep) {
    if (job.config == "medium") medium = &study.record(job);
  }
  return fmt::format(
      "SVD at ratio 2: keys {:.4f}, values {:.4f} without training. The medium network's own ratio "
      "is "
      "{:.2f} ({:.2f} counted as the seed counts).",
      svd(Signal::key), svd(Signal::value), medium->ratio(), medium->ratio_seed());
}

std::string on_bases(const Study& study) {
  Spread network, basis, wins;
  double share = 0;
  for (const FitJob& job : study.jobs.sweep) {
    if (job.config != "medium" || job.seed != 0) continue;
    const FitRecord& r = study.record(job);
    const Baseline* largest = nullptr;
    for (const Baseline& b : study.closed) {
      if (b.method == "dct" && b.signal == job.signal && b.layer == job.layer &&
          b.head == job.head && 5 * b.numbers <= 2 * r.parameters &&
          (largest == nullptr || b.numbers > largest->numbers)) {
        largest = &b;
      }
    }
    if (largest == nullptr) continue;
    network.add(r.loss);
    basis.add(largest->quality.loss);
    wins.add(largest->quality.loss < r.loss);
    share = double(largest->numbers) / double(r.parameters);
  }
  return fmt::format(
      "A cosine basis of {:.0f} % of the medium network's numbers leaves a loss of {:.4f}, the "
      "network {:.4f}; the basis is better at {:.0f} % of the places.",
      100 * share, basis.mean(), network.mean(), 100 * wins.mean());
}

// The rate decays to almost nothing, so that every fit looks finished at its end; whether it was
// shows in fits of more epochs.
std::string on_convergence(const Study& study) {
  std::map<size_t, Spread> losses;
  for (const FitJob& job : study.jobs.longer) {
    const FitRecord& r = study.record(job);
    losses[r.epochs].add(r.loss);
  }
  Spread finished;
  for (const FitJob& job : study.jobs.longer) finished.add(study.record(job).converged());
  return fmt::format(
      "{:.0f} % of the medium networks gained less than 1 % over the last tenth of their epochs, "
      "but "
      "the rate had decayed by then: with {} epochs they end at a mean loss of {:.4f}, with {} at "
      "{:.4f}.",
      100 * finished.mean(), losses.begin()->first, losses.begin()->second.mean(),
      losses.rbegin()->first, losses.rbegin()->second.mean());
}

std::string on_loop(const Study& study) {
  const auto of = [&](const std::string& method, const char* kind) -> std::string {
    const auto found = std::find_if(study.loop.begin(), study.loop.end(), [&](const Judged& j) {
      return j.method == method && j.kind == kind;
    });
    return fmt::format("{:.1f} (KLD {:.2f}, ratio {:.2f})", found->ppl, found->kld_mean,
                       found->ratio);
  };
  return fmt::format(
      "In the loop, perplexity {:.1f} with f16 becomes {} with the keys of medium networks, {} "
      "with "
      "the rotated mean, {} with SVD at ratio 2; with values of medium networks {}, of SVD {}.",
      study.loop.front().ppl_f16, of("network, medium", "key"), of("rotated mean", "key"),
      of("SVD, ratio 2", "key"), of("network, medium", "value"), of("SVD, ratio 2", "value"));
}

std::string on_scaling(const Study& study) {
  std::vector<double> lengths, errors;
  for (size_t tokens = 0; const FitJob& job : study.jobs.scaling) {
    if (job.tokens == tokens) continue;
    tokens = job.tokens;
    lengths.push_back(double(tokens));
    errors.push_back(1 - cosines(study, study.jobs.scaling, [&](const FitJob& j) {
                           return j.tokens == tokens && is_key(j);
                         }).mean());
  }
  const auto law = power_law(lengths, errors);
  if (!law) return "Scaling: the cosine of keys is 1 at some length; no power law.";
  return fmt::format("1 - cosine of keys grows as tokens^{:.2f} between {:.0f} and {:.0f} tokens.",
                     law->exponent, lengths.front(), lengths.back());
}

std::string on_latency(const Study& study) {
  double least = 1e300, most = 0;
  for (const Forward& f : study.latency.forward) {
    if (f.config != "medium") continue;
    least = std::min(least, f.forward_us / f.read_us);
    most = std::max(most, f.forward_us / f.read_us);
  }
  const Attention* best = nullptr;
  for (const Attention& a : study.latency.attention) {
    if (best == nullptr || a.us / a.read_us < best->us / best->read_us) best = &a;
  }
  return fmt::format(
      "The medium network's forward pass takes {:.0f} to {:.0f} times the memory read on this "
      "machine. With the read-out absorbed, the cheapest way ({}, {}) takes {:.1f} times here and "
      "{:.2f} times on an H100 by its data sheet.",
      least, most, best->method, best->config, best->us / best->read_us,
      best->h100_us / best->h100_read_us);
}

std::string on_kinds(const Study& study) {
  double least = 1, most = -1;
  for (size_t text = 0; text < study.sources.kinds->info().texts.size(); ++text) {
    const double cosine = cosines(study, study.jobs.kinds, [&](const FitJob& j) {
                            return j.text == text && is_key(j);
                          }).mean();
    least = std::min(least, cosine);
    most = std::max(most, cosine);
  }
  return fmt::format("Keys differ by {:.4f} in cosine between kinds of text (the seed: .006).",
                     most - least);
}

}  // namespace

std::vector<std::string> findings(const Study& study) {
  const Jobs& jobs = study.jobs;
  std::vector<std::string> lines;
  if (!jobs.sweep.empty()) {
    lines = {on_cosines(study), on_rotating_mean(study), on_svd(study), on_bases(study)};
  }
  if (!jobs.longer.empty()) lines.push_back(on_convergence(study));
  if (!jobs.scaling.empty()) lines.push_back(on_scaling(study));
  if (!jobs.kinds.empty()) lines.push_back(on_kinds(study));
  if (!study.loop.empty()) lines.push_back(on_loop(study));
  if (!study.latency.attention.empty()) lines.push_back(on_latency(study));
  return lines;
}

}  // namespace kvsplice::experiment::nerf
