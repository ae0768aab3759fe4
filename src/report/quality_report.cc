#include "report/quality_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace kvsplice::report {

namespace {

using quality::Outcome;

bool is_base(const Outcome& o) { return o.cache.rfind("f16", 0) == 0 && o.pipeline.empty(); }

// KLD of the floor measured in steps of the same size, 0 if it was not measured.
double floor_of(const std::vector<Outcome>& outcomes, const Outcome& of) {
  for (const Outcome& o : outcomes) {
    if (o.cache == "floor" && o.step == of.step) return o.kld_mean;
  }
  return 0;
}

Cell measured(double value, bool known) { return known ? Cell(value) : Cell(); }

}  // namespace

Table quality_table(const std::vector<Outcome>& outcomes) {
  const bool hybrid = std::any_of(outcomes.begin(), outcomes.end(),
                                  [](const Outcome& o) { return o.state_bytes > 0; });
  std::vector<Column> columns = {{"cache"},
                                 {"bits_per_value", 3},
                                 {"ratio", 2},
                                 {"ratio_with_window", 2},
                                 {"ppl", 4},
                                 {"ppl_error", 3},
                                 {"kld_mean", 5},
                                 {"kld_median", 5},
                                 {"kld_p99", 4},
                                 {"top1_percent", 2},
                                 {"rms_dp_percent", 2},
                                 {"tokens_per_second", 0},
                                 {"encode_us_per_token", 1},
                                 {"decode_us_per_token", 1},
                                 {"entropy_bits_per_value", 3},
                                 {"kld_above_floor", 5},
                                 {"codec_file_bytes", 0, false},
                                 {"scored_tokens", 0, false},
                                 {"step", 0, false},
                                 {"pipeline", -1, false}};
  if (hybrid) columns.push_back({"state_bytes", 0});
  Table table("quality", "Quality in the loop", std::move(columns));
  for (const Outcome& o : outcomes) {
    const bool codec = !o.pipeline.empty(), coded = o.bits_per_value > 0;
    const double floor = floor_of(outcomes, o);
    std::vector<Cell> row = {o.cache,
                             measured(o.bits_per_value, coded),
                             measured(o.ratio, coded),
                             measured(o.ratio_with_window, coded),
                             o.ppl,
                             o.ppl_error,
                             o.kld_mean,
                             o.kld_median,
                             o.kld_p99,
                             o.top1_percent,
                             o.rms_dp_percent,
                             o.tokens_per_second,
                             measured(o.encode_us_per_token, codec && coded),
                             measured(o.decode_us_per_token, codec && coded),
                             measured(o.entropy_bits_per_value, o.entropy_bits_per_value > 0),
                             measured(std::max(0.0, o.kld_mean - floor), floor > 0),
                             int64_t(o.codec_file_bytes),
                             int64_t(o.scored),
                             int64_t(o.step),
                             o.pipeline};
    if (hybrid) row.push_back(int64_t(o.state_bytes));
    table.add(std::move(row));
  }
  return table;
}

Figure quality_figure(const std::vector<Outcome>& outcomes) {
  Series llama{"llama.cpp cache types", {}, {}, {}, Series::Style::line_points, {}};
  Series stored{"codecs, as stored", {}, {}, {}, Series::Style::points, {}};
  Series estimated{"codecs, entropy estimate", {}, {}, {}, Series::Style::points, {}};
  Series floor{"noise floor", {}, {}, {}, Series::Style::line, {}};
  double most = 0;
  for (const Outcome& o : outcomes) {
    if (!is_base(o)) most = std::max(most, o.bits_per_value);
  }
  auto add = [](Series& to, double bits, const Outcome& o) {
    to.x.push_back(bits);
    to.y.push_back(o.kld_mean);
    to.notes.push_back(o.cache);
  };
  for (const Outcome& o : outcomes) {
    if (is_base(o)) continue;
    if (o.cache == "floor") {
      floor.x = {0, most};
      floor.y = {o.kld_mean, o.kld_mean};
      continue;
    }
    add(o.pipeline.empty() ? llama : stored, o.bits_per_value, o);
    if (o.entropy_bits_per_value > 0) add(estimated, o.entropy_bits_per_value, o);
  }
  Panel panel;
  panel.title = "Divergence from the f16 cache";
  panel.x_label = "bits per value";
  panel.y_label = "mean KLD (nats)";
  panel.log_y = true;
  for (Series* s : {&llama, &stored, &estimated, &floor}) {
    if (!s->x.empty()) panel.series.push_back(std::move(*s));
  }
  return {"quality_kld",
          "Mean KLD against bits per value; lower left is better. What codecs store is measured; "
          "the entropy estimate is what an ideal coder behind them would need.",
          {panel},
          1};
}

std::vector<std::string> quality_findings(const std::vector<Outcome>& outcomes) {
  std::vector<std::string> findings;
  const auto q4 = std::find_if(outcomes.begin(), outcomes.end(),
                               [](const Outcome& o) { return o.cache == "q4_0"; });
  for (const Outcome& o : outcomes) {
    if (o.pipeline.empty() || o.bits_per_value <= 0) continue;
    std::string line = fmt::format("{}: {:.2f} bits per value stored ({:.1f}x smaller than f16)",
                                   o.cache, o.bits_per_value, o.ratio);
    if (o.entropy_bits_per_value > 0) {
      line += fmt::format(", entropy estimate {:.2f}", o.entropy_bits_per_value);
    }
    line += fmt::format("; perplexity {:.2f}, mean KLD {:.4f}", o.ppl, o.kld_mean);
    if (q4 != outcomes.end()) {
      line += fmt::format(", {:.2f} times that of q4_0 ({:.4f} at 4.5 bits)",
                          o.kld_mean / q4->kld_mean, q4->kld_mean);
    }
    if (o.state_bytes > 0) {
      line += fmt::format("; the ratio counts {:.3f} MB of recurrent state on both sides",
                          double(o.state_bytes) / 1e6);
    }
    findings.push_back(line + ".");
  }
  return findings;
}

}  // namespace kvsplice::report
