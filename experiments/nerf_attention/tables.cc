#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "analyse/sequence.h"
#include "experiments/nerf_attention/study.h"

namespace kvsplice::experiment::nerf {

namespace {

using report::Cell;
using report::Column;
using report::Table;

constexpr Signal kStored[] = {Signal::key, Signal::value};

Cell count(size_t n) { return int64_t(n); }
Cell yes_no(bool yes) { return std::string(yes ? "yes" : "no"); }

std::vector<Cell> fit_cells(const FitJob& job, const FitRecord& r) {
  const auto shape = job.shape();
  return {job.name(),
          int64_t(job.layer),
          int64_t(job.head),
          kind_name(job.signal),
          job.config,
          int64_t(job.seed),
          count(shape.hidden),
          count(shape.layers),
          shape.omega,
          count(r.tokens),
          count(r.dim),
          r.mse,
          r.cosine_mean,
          r.cosine_min,
          r.cosine_std,
          r.loss,
          r.loss_50,
          r.loss_75,
          r.loss_90,
          count(r.epochs),
          yes_no(r.converged()),
          count(r.parameters),
          r.bytes(),
          r.ratio(),
          r.ratio_seed(),
          r.seconds};
}

Table fit_table(const Study& study, const std::string& name, const std::string& title,
                const std::vector<FitJob>& jobs) {
  Table table(name, title,
              {{"name"},
               {"layer", -1, false},
               {"head", -1, false},
               {"kind", -1, false},
               {"config", -1, false},
               {"seed"},
               {"hidden", -1, false},
               {"hidden_layers", -1, false},
               {"omega", -1, false},
               {"tokens"},
               {"dim", -1, false},
               {"mse", -1, false},
               {"cosine_mean", 4},
               {"cosine_min", 4},
               {"cosine_std", 4, false},
               {"loss", 4},
               {"loss_50", 4, false},
               {"loss_75", 4, false},
               {"loss_90", 4, false},
               {"epochs"},
               {"converged"},
               {"parameters", -1, false},
               {"bytes", -1, false},
               {"ratio", 3},
               {"ratio_seed", 3},
               {"seconds", 2}});
  for (const FitJob& job : jobs) table.add(fit_cells(job, study.record(job)));
  return table;
}

// By configuration and kind, over layers, heads and seeds; spread over seeds apart.
Table configs_table(const Study& study) {
  Table table("configs", "Networks by configuration, keys and values, over layers and heads",
              {{"config"},
               {"kind"},
               {"fits"},
               {"cosine_mean", 4},
               {"cosine_deviation", 4},
               {"seed_deviation", 4},
               {"loss", 4},
               {"converged_share", 2},
               {"ratio", 3},
               {"ratio_seed", 3},
               {"seconds_per_fit", 2}});
  for (const auto& config : study.options.networks()) {
    for (Signal signal : kStored) {
      Spread cosine, loss, converged, seconds, between_seeds, ratio, ratio_seed;
      std::map<std::pair<int, int>, Spread> by_place;
      for (const FitJob& job : study.jobs.sweep) {
        if (job.config != config || job.signal != signal) continue;
        const FitRecord& r = study.record(job);
        cosine.add(r.cosine_mean);
        loss.add(r.loss);
        converged.add(r.converged());
        seconds.add(r.seconds);
        ratio.add(r.ratio());
        ratio_seed.add(r.ratio_seed());
        by_place[{job.layer, job.head}].add(r.cosine_mean);
      }
      for (const auto& [place, spread] : by_place) between_seeds.add(spread.deviation());
      table.add({config, kind_name(signal), count(cosine.count()), cosine.mean(),
                 cosine.deviation(), between_seeds.mean(), loss.mean(), converged.mean(),
                 ratio.mean(), ratio_seed.mean(), seconds.mean()});
    }
  }
  return table;
}

Table svd_table(const Study& study) {
  struct Reference {
    double target, key, value;
  };
  constexpr Reference kSeed[] = {
      {2, .9745, .9124}, {4, .9225, .8032}, {8, .8662, .6920}, {16, .8119, .5830}};
  Table table("svd", "Truncated SVD: mean cosine by ratio; the seed's Llama-3.1-8B beside it",
              {{"target"},
               {"kind"},
               {"fits"},
               {"ratio", 3},
               {"cosine_mean", 4},
               {"cosine_deviation", 4},
               {"seed_cosine", 4}});
  for (const Reference& reference : kSeed) {
    for (Signal signal : kStored) {
      const auto wanted = [&](const Baseline& b) {
        return b.target == reference.target && b.signal == signal;
      };
      Spread ratio;
      for (const Baseline& b : study.svd) {
        if (wanted(b)) ratio.add(b.ratio());
      }
      const Spread cosine = cosines(study.svd, wanted);
      table.add({reference.target, kind_name(signal), count(cosine.count()), ratio.mean(),
                 cosine.mean(), cosine.deviation(),
                 signal == Signal::key ? reference.key : reference.value});
    }
  }
  return table;
}

Table closed_table(const Study& study) {
  Table table("closed_forms", "Position codes without training, at the sweep's places",
              {{"method"},
               {"kind"},
               {"layer"},
               {"head"},
               {"numbers"},
               {"ratio", 3},
               {"cosine_mean", 4},
               {"cosine_min", 4},
               {"mse", -1, false},
               {"loss", 4},
               {"milliseconds", 2}});
  for (const Baseline& b : study.closed) {
    table.add({b.method, kind_name(b.signal), int64_t(b.layer), int64_t(b.head), count(b.numbers),
               b.ratio(), b.quality.cosine_mean, b.quality.cosine_min, b.quality.mse,
               b.quality.loss, b.milliseconds});
  }
  return table;
}

Table means_table(const Study& study) {
  Table table("means", "Stored keys: the rotated mean, fit by fit beside the medium network",
              {{"layer"},
               {"head"},
               {"rotated_mean", 4},
               {"stored_mean", 4},
               {"network", 4},
               {"network_gain", 4},
               {"value_mean", 4},
               {"value_network", 4}});
  for (const auto& m : means_against_networks(study, "medium")) {
    table.add({int64_t(m.layer), int64_t(m.head), m.rotated_mean, m.stored_mean, m.network,
               m.network - m.rotated_mean, m.value_mean, m.value_network});
  }
  return table;
}

Table scaling_table(const Study& study) {
  Table table(
      "scaling_cosines", "Medium network by length of the text",
      {{"tokens"}, {"kind"}, {"fits"}, {"cosine_mean", 4}, {"cosine_deviation", 4}, {"loss", 4}});
  std::set<size_t> lengths;
  for (const FitJob& job : study.jobs.scaling) lengths.insert(job.tokens);
  for (size_t tokens : lengths) {
    for (Signal signal : kStored) {
      Spread cosine, loss;
      for (const FitJob& job : study.jobs.scaling) {
        if (job.tokens != tokens || job.signal != signal) continue;
        cosine.add(study.record(job).cosine_mean);
        loss.add(study.record(job).loss);
      }
      table.add({count(tokens), kind_name(signal), count(cosine.count()), cosine.mean(),
                 cosine.deviation(), loss.mean()});
    }
  }
  return table;
}

Table kinds_table(const Study& study) {
  Table table(
      "texts", "Medium network by kind of text",
      {{"text"}, {"kind"}, {"fits"}, {"cosine_mean", 4}, {"cosine_deviation", 4}, {"lag1", 4}});
  const auto& data = study.sources.kinds;
  for (size_t text = 0; data != nullptr && text < data->info().texts.size(); ++text) {
    for (Signal signal : kStored) {
      Spread cosine, lag1;
      for (const FitJob& job : study.jobs.kinds) {
        if (job.text != text || job.signal != signal) continue;
        cosine.add(study.record(job).cosine_mean);
        const auto rows = data->head(signal, job.layer, job.head, job.tokens, text);
        if (rows.ok()) lag1.add(analyse::autocorrelation(*rows, 1)[1]);
      }
      table.add({data->info().texts[text].name, kind_name(signal), count(cosine.count()),
                 cosine.mean(), cosine.deviation(), lag1.mean()});
    }
  }
  return table;
}

Table longer_table(const Study& study) {
  Table table("longer", "Medium network by epochs, the rate decaying over all of them; head 0",
              {{"epochs"}, {"kind"}, {"fits"}, {"cosine_mean", 4}, {"loss", 4}});
  std::set<size_t> lengths;
  for (const FitJob& job : study.jobs.longer) lengths.insert(study.record(job).epochs);
  for (size_t epochs : lengths) {
    for (Signal signal : kStored) {
      Spread cosine, loss;
      for (const FitJob& job : study.jobs.longer) {
        const FitRecord& r = study.record(job);
        if (r.epochs != epochs || job.signal != signal) continue;
        cosine.add(r.cosine_mean);
        loss.add(r.loss);
      }
      table.add(
          {count(epochs), kind_name(signal), count(cosine.count()), cosine.mean(), loss.mean()});
    }
  }
  return table;
}

Table loop_table(const Study& study) {
  Table table("in_loop",
              "In the loop: the first half of a text computed, one kind at a time; networks by "
              "variable projection",
              {{"method"},
               {"kind"},
               {"ratio", 2},
               {"ppl", 2},
               {"ppl_f16", 2},
               {"ppl_error", 2, false},
               {"kld_mean", 4},
               {"kld_median", 4, false},
               {"top1_percent", 1},
               {"scored", -1, false},
               {"pipeline", -1, false}});
  for (const Judged& j : study.loop) {
    table.add({j.method, j.kind, j.ratio, j.ppl, j.ppl_f16, j.ppl_error, j.kld_mean, j.kld_median,
               j.top1_percent, count(j.scored), j.pipeline});
  }
  return table;
}

Table forward_table(const Study& study) {
  Table table("latency_forward", "A network's forward pass against reading what it replaces",
              {{"config"},
               {"tokens"},
               {"forward_us", 1},
               {"read_us", 2},
               {"slower", 1},
               {"rtx4060_read_us", 2},
               {"h100_read_us", 3}});
  for (const Forward& f : study.latency.forward) {
    table.add({f.config, count(f.tokens), f.forward_us, f.read_us, f.forward_us / f.read_us,
               f.rtx4060_us, f.h100_us});
  }
  return table;
}

Table attention_table(const Study& study) {
  Table table("latency_attention",
              "One attention step of one layer, by where keys and values come "
              "from",
              {{"tokens"},
               {"method"},
               {"config"},
               {"us", 0},
               {"read_us", 1},
               {"of_read", 2},
               {"h100_us", 2},
               {"h100_read_us", 2},
               {"h100_of_read", 2}});
  for (const Attention& a : study.latency.attention) {
    table.add({count(a.tokens), a.method, a.config, a.us, a.read_us, a.us / a.read_us, a.h100_us,
               a.h100_read_us, a.h100_us / a.h100_read_us});
  }
  return table;
}

}  // namespace

std::vector<Table> tables(const Study& study) {
  const Jobs& jobs = study.jobs;
  std::vector<Table> all;
  if (!jobs.sweep.empty()) all = {configs_table(study), means_table(study), svd_table(study)};
  if (!study.loop.empty()) all.push_back(loop_table(study));
  if (!jobs.scaling.empty()) all.push_back(scaling_table(study));
  if (!jobs.kinds.empty()) all.push_back(kinds_table(study));
  if (!jobs.longer.empty()) all.push_back(longer_table(study));
  if (!study.latency.attention.empty()) {
    all.push_back(forward_table(study));
    all.push_back(attention_table(study));
  }
  if (!study.closed.empty()) all.push_back(closed_table(study));
  const auto add = [&](const char* name, const char* title, const std::vector<FitJob>& part) {
    if (!part.empty()) all.push_back(fit_table(study, name, title, part));
  };
  add("sweep", "Every network of the sweep", jobs.sweep);
  add("before_rope", "Keys before rotary embedding", jobs.before_rope);
  add("profile_fits", "Every layer, head 0", jobs.profile);
  add("scaling_fits", "Networks of the scaling table", jobs.scaling);
  add("longer_fits", "Networks of the table by epochs", jobs.longer);
  add("kinds_fits", "Networks of the table of kinds of text", jobs.kinds);
  return all;
}

}  // namespace kvsplice::experiment::nerf
