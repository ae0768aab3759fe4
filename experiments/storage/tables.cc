#include <fmt/format.h>

#include <algorithm>

#include "experiments/storage/outputs.h"
#include "quality/rate_curve.h"

namespace kvsplice::experiment::storage {

namespace {

using report::Cell;
using report::Column;
using report::Table;

constexpr double kQ4Bits = 4.5;
constexpr int kWindows[] = {0, 32, 128};

Cell known(double value, bool is) { return is ? Cell(value) : Cell(); }
Cell maybe(const std::optional<double>& value) { return value ? Cell(*value) : Cell(); }

// Tokens at which the codec file and the rows are smaller than a cache of `bits` per value.
Cell paid_back(const Study& study, const quality::Outcome& o, double bits) {
  if (o.pipeline.empty()) return {};
  const double f16 = study.f16_bytes_per_token;
  return maybe(quality::paid_back_at(double(o.codec_file_bytes), f16 / o.ratio, f16 * bits / 16));
}

double floor_of(const std::vector<Measured>& rows, const Measured& of) {
  for (const Measured& m : rows) {
    if (m.name() == "floor" && m.text == of.text && m.ctx == of.ctx) return m.outcome.kld_mean;
  }
  return 0;
}

Table rates_table(const Study& study) {
  Table table("rates", "Rate and divergence in the loop",
              {{"text"},
               {"ctx"},
               {"cache"},
               {"bits_per_value", 3},
               {"ratio", 2},
               {"ratio_with_window", 2},
               {"kld_mean", 5},
               {"kld_above_floor", 5},
               {"ppl", 3},
               {"top1_percent", 1},
               {"codec_file_bytes", 0},
               {"paid_back_tokens", 0},
               {"paid_back_tokens_q4_0", 0},
               {"method", -1, false},
               {"factor", -1, false},
               {"entropy_bits_per_value", 3, false},
               {"ppl_error", 3, false},
               {"kld_median", 5, false},
               {"kld_p99", 5, false},
               {"rms_dp_percent", 2, false},
               {"encode_us_per_token", 1, false},
               {"decode_us_per_token", 1, false},
               {"fitted_tokens", 0, false},
               {"scored_tokens", 0, false},
               {"pipeline", -1, false}});
  for (const Measured& m : study.rates) {
    const quality::Outcome& o = m.outcome;
    const bool codec = !o.pipeline.empty(), coded = o.bits_per_value > 0;
    const double floor = floor_of(study.rates, m);
    table.add({m.text,
               int64_t(m.ctx),
               m.name(),
               known(o.bits_per_value, coded),
               known(o.ratio, coded),
               known(o.ratio_with_window, coded),
               o.kld_mean,
               known(std::max(0.0, o.kld_mean - floor), codec && floor > 0),
               o.ppl,
               o.top1_percent,
               codec ? Cell(int64_t(o.codec_file_bytes)) : Cell(),
               paid_back(study, o, 16),
               paid_back(study, o, kQ4Bits),
               m.method,
               known(m.factor, m.factor > 0),
               known(o.entropy_bits_per_value, o.entropy_bits_per_value > 0),
               o.ppl_error,
               o.kld_median,
               o.kld_p99,
               o.rms_dp_percent,
               known(o.encode_us_per_token, codec),
               known(o.decode_us_per_token, codec),
               int64_t(m.fitted),
               int64_t(o.scored),
               o.pipeline});
  }
  return table;
}

Table goals_table(const Study& study) {
  Table table(
      "goals", "Ratio at the divergence of llama.cpp's caches, between measured points",
      {{"text"}, {"ctx"}, {"at"}, {"kld", 5}, {"method"}, {"ratio", 2}, {"reached"}, {"goal", 0}});
  for (const Goal& g : goals_of(study)) {
    const char* reached = !g.ratio ? "no" : g.beyond ? "all points" : "yes";
    table.add({g.text, int64_t(g.ctx), g.at, g.kld, g.method, maybe(g.ratio), reached,
               known(g.wanted, g.method == kCodec)});
  }
  return table;
}

// The codec under study on the first text at the shortest context: one row for every length.
Table lengths_table(const Study& study) {
  std::vector<Column> columns = {{"cache"}, {"tokens"}};
  for (int window : kWindows) columns.push_back({fmt::format("ratio_window_{}", window), 2});
  columns.push_back({"ratio_with_codec_file", 2});
  Table table("lengths",
              "Ratio by length of context: sinks and an exact window of 0, 32 or 128 tokens "
              "(arithmetic from measured bytes per token); and with the codec file, no window",
              columns);
  const double f16 = study.f16_bytes_per_token, sinks = study.options.sinks;
  for (const Measured& m : study.rates) {
    const bool first = m.text == study.rates[0].text && m.ctx == study.rates[0].ctx;
    if (!first || m.method != kCodec) continue;
    const double bytes = f16 / m.outcome.ratio;
    for (int tokens = 512; tokens <= 131072; tokens *= 4) {
      std::vector<Cell> row = {m.name(), int64_t(tokens)};
      for (int window : kWindows) {
        row.emplace_back(quality::ratio_of_length(tokens, sinks + window, bytes, f16));
      }
      const double stored = f16 * tokens / quality::ratio_of_length(tokens, sinks, bytes, f16);
      row.emplace_back(f16 * tokens / (stored + double(m.outcome.codec_file_bytes)));
      table.add(std::move(row));
    }
  }
  return table;
}

Table calibration_table(const Study& study) {
  Table table("calibration", "What the codec is fitted on",
              {{"text"},
               {"fitted_on"},
               {"fitted_tokens", 0},
               {"bits_per_value", 3},
               {"ratio", 2},
               {"kld_mean", 5},
               {"ppl", 3},
               {"top1_percent", 1},
               {"ctx", 0, false},
               {"scored_tokens", 0, false},
               {"pipeline", -1, false}});
  for (const Measured& m : study.calibration) {
    const quality::Outcome& o = m.outcome;
    table.add({m.text, m.method, int64_t(m.fitted), o.bits_per_value, o.ratio, o.kld_mean, o.ppl,
               o.top1_percent, int64_t(m.ctx), int64_t(o.scored), o.pipeline});
  }
  return table;
}

constexpr int kDepths = 4;

struct Sum {
  double questions = 0, exact = 0, tokens = 0, right = 0, log_prob = 0;

  void add(const Restored& r, size_t i) {
    const double n = double(r.tokens[i]);
    questions += 1;
    exact += r.until_divergence[i] == r.tokens[i];
    tokens += n;
    right += n * r.share[i];
    log_prob += n * r.log_prob[i];
  }
};

Table retrieval_table(const Study& study) {
  Table table("retrieval", "Values found by their keys in restored prompts",
              {{"cache"},
               {"prompt_tokens"},
               {"depth"},
               {"ratio", 2},
               {"pairs"},
               {"questions"},
               {"exact_percent", 1},
               {"token_percent", 1},
               {"log_prob", 4}});
  for (size_t i = 0; i < study.retrieval.size(); ++i) {
    const Restored& first = study.retrieval[i];
    const auto same = [&](const Restored& r) {
      return r.cache == first.cache && r.prompt_tokens == first.prompt_tokens;
    };
    const auto begin = study.retrieval.begin();
    if (std::find_if(begin, study.retrieval.end(), same) != begin + ptrdiff_t(i)) continue;  // done
    Sum sums[kDepths + 1];  // the last: of all
    for (const Restored& r : study.retrieval) {
      if (!same(r)) continue;
      for (size_t q = 0; q < r.depth.size(); ++q) {
        sums[std::min(kDepths - 1, int(r.depth[q] * kDepths))].add(r, q);
        sums[kDepths].add(r, q);
      }
    }
    for (int d = 0; d <= kDepths; ++d) {
      const Sum& s = sums[d];
      if (s.questions == 0) continue;
      const std::string depth =
          d == kDepths ? "all"
                       : fmt::format("{} ... {} %", 100 * d / kDepths, 100 * (d + 1) / kDepths);
      table.add({first.cache, int64_t(first.prompt_tokens), depth, first.ratio,
                 int64_t(first.pairs), int64_t(s.questions), 100 * s.exact / s.questions,
                 100 * s.right / s.tokens, s.log_prob / s.tokens});
    }
  }
  return table;
}

// Means over the prompts of a text, one row a cache.
Table greedy_table(const Study& study) {
  Table table("greedy", "Greedy decoding behind restored prompts, compared with f16",
              {{"text"},
               {"cache"},
               {"ratio", 2},
               {"prompts"},
               {"tokens"},
               {"same_until", 1},
               {"same_until_percent", 1},
               {"whole_percent", 1},
               {"same_next_percent", 1},
               {"log_prob", 4}});
  for (size_t i = 0; i < study.greedy.size(); ++i) {
    const Restored& first = study.greedy[i];
    const auto same = [&](const Restored& r) {
      return r.cache == first.cache && r.text == first.text;
    };
    const auto begin = study.greedy.begin();
    if (std::find_if(begin, study.greedy.end(), same) != begin + ptrdiff_t(i)) continue;  // done
    Sum sum;
    double until = 0;
    for (const Restored& r : study.greedy) {
      if (!same(r)) continue;
      sum.add(r, 0);
      until += double(r.until_divergence[0]);
    }
    table.add({first.text, first.cache, first.ratio, int64_t(sum.questions),
               int64_t(first.tokens[0]), until / sum.questions, 100 * until / sum.tokens,
               100 * sum.exact / sum.questions, 100 * sum.right / sum.tokens,
               sum.log_prob / sum.tokens});
  }
  return table;
}

}  // namespace

std::vector<Table> tables(const Study& study) {
  std::vector<Table> all;
  if (!study.rates.empty()) {
    all.push_back(rates_table(study));
    all.push_back(goals_table(study));
    all.push_back(lengths_table(study));
  }
  if (!study.retrieval.empty()) all.push_back(retrieval_table(study));
  if (!study.greedy.empty()) all.push_back(greedy_table(study));
  if (!study.calibration.empty()) all.push_back(calibration_table(study));
  return all;
}

}  // namespace kvsplice::experiment::storage
