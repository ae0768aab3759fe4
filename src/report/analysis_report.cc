#include "report/analysis_report.h"

#include <fmt/format.h>

#include "analyse/findings.h"
#include "analyse/sequence.h"

namespace kvsplice::report {

namespace {

using namespace analyse;
using host::Signal;

std::vector<Cell>& append(std::vector<Cell>& row, std::vector<Cell> cells) {
  row.insert(row.end(), cells.begin(), cells.end());
  return row;
}

std::vector<Column> joined(std::vector<Column> columns, const std::vector<Column>& more) {
  columns.insert(columns.end(), more.begin(), more.end());
  return columns;
}

std::vector<Cell> cells_of(const Rates& r) { return {r.gain, r.bits[0], r.bits[1], r.bits[2]}; }

std::vector<Column> rate_columns(const std::string& prefix) {
  return {{prefix + "gain_bits", 3},
          {prefix + "bits_at_1_percent", 3},
          {prefix + "bits_at_5_percent", 3},
          {prefix + "bits_at_10_percent", 3}};
}

// Components 1, 2, 3, 4, 6, 8, 12, 16, 24 ... and the last one.
std::vector<size_t> sampled_components(size_t n) {
  std::vector<size_t> list;
  for (size_t power = 1; power < n; power *= 2) {
    list.push_back(power);
    if (power > 1 && power + power / 2 < n) list.push_back(power + power / 2);
  }
  if (n > 0) list.push_back(n);
  return list;
}

void add_spectrum(Table& table, std::vector<Cell> head, const std::vector<double>& shares) {
  double cumulative = 0;
  size_t at = 0;
  for (size_t component : sampled_components(shares.size())) {
    while (at < component) cumulative += shares[at++];
    std::vector<Cell> row = head;
    table.add(append(
        row, {int64_t(component), int64_t(shares.size()), shares[component - 1], cumulative}));
  }
}

}  // namespace

Table analysis_summary_table(const Analysis& analysis) {
  Table table("summary", "Structure of the cache, means over layers and heads",
              {{"signal"},
               {"lag1_autocorrelation", 3},
               {"lag1_label"},
               {"low_10_percent_energy", 3},
               {"low_10_percent_label"},
               {"rank_ratio", 3},
               {"mean_share", 3},
               {"excess_kurtosis", 2},
               {"ar1_gain_bits", 3},
               {"klt_layer_gain_bits", 3}});
  for (const SignalAnalysis& s : analysis.signals) {
    table.add({name(s.signal), s.lag1, label(s.lag1), s.low10, label(s.low10), s.rank_ratio,
               s.mean_share, s.kurtosis, ar1_gain(s.lag1), s.layer.gain});
  }
  return table;
}

Table analysis_scopes_table(const Analysis& analysis) {
  Table table("scopes", "One KLT for what? Coding gain and bits per value by error energy",
              joined(joined({{"signal"}, {"scope"}}, rate_columns("")), {{"fit_rows"}, {"width"}}));
  for (const SignalAnalysis& s : analysis.signals) {
    const auto add = [&](const char* scope, const Rates& rates, Cell rows, Cell width) {
      std::vector<Cell> row = {name(s.signal), scope};
      append(row, cells_of(rates));
      table.add(append(row, {rows, width}));
    };
    const Cell rows = int64_t(s.fit_rows);
    add("none", s.coordinate, rows, int64_t(1));
    add("head", s.head, rows, int64_t(s.head_width));
    add("layer", s.layer, rows, int64_t(s.layer_width));
    if (s.joint) add("model", s.model, int64_t(s.joint_fit_rows), int64_t(s.joint_width));
  }
  return table;
}

Table analysis_layers_table(const Analysis& analysis) {
  auto columns = joined({{"signal"},
                         {"layer"},
                         {"lag1_autocorrelation", 3},
                         {"low_10_percent_energy", 3},
                         {"rank_ratio", 3},
                         {"mean_share", 3},
                         {"excess_kurtosis", 2}},
                        rate_columns("none_"));
  columns = joined(joined(std::move(columns), rate_columns("head_")), rate_columns("layer_"));
  columns.push_back({"components_90_percent"});
  columns.push_back({"components_99_percent"});
  for (Column& c : columns) {  // on the page: the rates in the middle of the range
    const bool rate = c.name.find("bits") != std::string::npos;
    c.in_text = !rate || c.name.find("bits_at_5") != std::string::npos;
  }
  Table table("layers", "Layer by layer", std::move(columns));
  for (const LayerAnalysis& l : analysis.layers) {
    std::vector<Cell> row = {name(l.signal), int64_t(l.layer), l.lag1,    l.low10,
                             l.rank_ratio,   l.mean_share,     l.kurtosis};
    for (const Rates* r : {&l.coordinate, &l.head, &l.whole}) append(row, cells_of(*r));
    table.add(append(row, {int64_t(components_for(l.spectrum, 0.9)),
                           int64_t(components_for(l.spectrum, 0.99))}));
  }
  return table;
}

Table analysis_heads_table(const Analysis& analysis) {
  auto columns = joined({{"signal"},
                         {"layer"},
                         {"head"},
                         {"lag1_autocorrelation", 3},
                         {"low_5_percent_energy", 3},
                         {"low_10_percent_energy", 3},
                         {"low_25_percent_energy", 3},
                         {"low_50_percent_energy", 3},
                         {"effective_rank_99", 1},
                         {"full_rank", 0},
                         {"rank_ratio", 3},
                         {"top_1_share", 3},
                         {"top_10_share", 3},
                         {"mean_share", 3},
                         {"excess_kurtosis", 2},
                         {"ar1_gain_bits", 3}},
                        rate_columns("klt_"));
  columns.push_back({"components_90_percent"});
  columns.push_back({"components_99_percent"});
  for (size_t lag = 2; lag <= kLags; ++lag) {
    columns.push_back({fmt::format("lag{}_autocorrelation", lag), 3, false});
  }
  Table table("analysis", "Head by head", std::move(columns));
  for (const HeadAnalysis& h : analysis.heads) {
    std::vector<Cell> row = {name(h.signal), int64_t(h.layer), int64_t(h.head), h.lag1()};
    for (double share : h.low_energy) row.emplace_back(share);
    append(row, {h.rank.effective, h.rank.full, h.rank.ratio, h.rank.top1, h.rank.top10,
                 h.mean_share, h.kurtosis, ar1_gain(h.lag1())});
    append(row, cells_of(h.klt));
    append(row,
           {int64_t(components_for(h.spectrum, 0.9)), int64_t(components_for(h.spectrum, 0.99))});
    for (size_t lag = 2; lag <= kLags; ++lag) row.emplace_back(h.autocorrelation[lag]);
    table.add(std::move(row));
  }
  return table;
}

Table spectra_table(const Analysis& analysis) {
  Table table("spectra", "Principal components: share of the variance, sampled ranks",
              {{"signal"},
               {"scope"},
               {"layer"},
               {"head"},
               {"component"},
               {"components"},
               {"share", 5},
               {"cumulative", 5}});
  for (const HeadAnalysis& h : analysis.heads) {
    add_spectrum(table, {name(h.signal), "head", int64_t(h.layer), int64_t(h.head)}, h.spectrum);
  }
  for (const LayerAnalysis& l : analysis.layers) {
    add_spectrum(table, {name(l.signal), "layer", int64_t(l.layer), Cell()}, l.spectrum);
  }
  for (const SignalAnalysis& s : analysis.signals) {
    add_spectrum(table, {name(s.signal), "model", Cell(), Cell()}, s.spectrum);
  }
  return table;
}

std::vector<std::string> analysis_findings(const Analysis& analysis) {
  std::vector<std::string> list;
  if (const SignalAnalysis* keys = analysis.find(Signal::key)) {
    list.push_back(fmt::format(
        "{} by the NeRF-Attention study's rule: stored keys have a lag-1 autocorrelation of {:.3f} "
        "({}) and {:.3f} of their energy in the lowest 10 % of frequencies ({}).",
        verdict(keys->lag1, keys->low10), keys->lag1, label(keys->lag1), keys->low10,
        label(keys->low10)));
  }
  for (auto& sentence : suggestions(analysis)) list.push_back(std::move(sentence));
  return list;
}

Result<> add_analysis(const Analysis& analysis, Results& results) {
  results.note("tokens", double(analysis.tokens));
  results.note("texts", double(analysis.texts));
  results.note("exact_first_tokens", double(kSinks));
  if (const SignalAnalysis* keys = analysis.find(Signal::key)) {
    results.note("verdict", verdict(keys->lag1, keys->low10));
  }
  for (const auto& sentence : analysis_findings(analysis)) results.finding(sentence);
  KVS_TRY(results.add(structure_figure(analysis)));
  KVS_TRY(results.add(spectra_figure(analysis)));
  KVS_TRY(results.add(analysis_summary_table(analysis)));
  KVS_TRY(results.add(analysis_scopes_table(analysis)));
  KVS_TRY(results.add(analysis_layers_table(analysis)));
  KVS_TRY(results.add(analysis_heads_table(analysis)));
  return results.add(spectra_table(analysis));
}

}  // namespace kvsplice::report
