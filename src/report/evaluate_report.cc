#include "report/evaluate_report.h"

#include <fmt/format.h>

#include <algorithm>

namespace kvsplice::report {

namespace {

using evaluate::AttentionQuality;
using evaluate::CodecQuality;
using evaluate::ErrorSums;
using evaluate::UnitQuality;
using evaluate::VectorErrors;

Cell measured(double value, bool known) { return known ? Cell(value) : Cell(); }
Cell measured(const std::optional<double>& value) { return value ? Cell(*value) : Cell(); }

bool has_attention(const CodecQuality& q) { return !q.attention.empty(); }

// What a codec is judged by in pictures: attention if there are queries, else its vectors.
double headline_error(const CodecQuality& q) {
  if (has_attention(q)) return q.attention_error(&AttentionQuality::both);
  ErrorSums all = q.errors(Kind::key).sums();
  all += q.errors(Kind::value).sums();
  return all.relative_rms();
}

std::vector<Column> error_columns(const std::string& prefix) {
  return {{prefix + "cosine_mean", 5},
          {prefix + "cosine_min", 4},
          {prefix + "cosine_std", 5, false},
          {prefix + "mse", -1, false},
          {prefix + "relative_rms_error", 4}};
}

void append_errors(std::vector<Cell>& row, const VectorErrors& e) {
  row.insert(row.end(), {e.cosine_mean(), e.cosine_min(), e.cosine_std(), e.sums().mse(),
                         e.sums().relative_rms()});
}

std::vector<Column> codec_columns() {
  std::vector<Column> columns = {{"codec"},
                                 {"bits_per_value", 3},
                                 {"ratio", 2},
                                 {"ratio_with_sinks", 2},
                                 {"attention_error", 4},
                                 {"attention_error_key_only", 4},
                                 {"attention_error_value_only", 4}};
  for (const char* kind : {"key_", "value_"}) {
    const auto errors = error_columns(kind);
    columns.insert(columns.end(), errors.begin(), errors.end());
  }
  const std::vector<Column> rest = {{"key_entropy_bits_per_value", 3},
                                    {"value_entropy_bits_per_value", 3},
                                    {"side_data_bytes", 0},
                                    {"payback_tokens", 0},
                                    {"encode_tokens_per_second", 0},
                                    {"decode_tokens_per_second", 0},
                                    {"encode_mb_per_second", 1},
                                    {"decode_mb_per_second", 1},
                                    {"encoded_bytes", 0, false},
                                    {"encoded_tokens", 0, false},
                                    {"exact_tokens", 0, false},
                                    {"query_positions", 0, false},
                                    {"pipeline", -1, false}};
  columns.insert(columns.end(), rest.begin(), rest.end());
  return columns;
}

std::vector<Cell> codec_row(const EvaluatedCodec& c) {
  const CodecQuality& q = c.quality;
  const bool attention = has_attention(q);
  const auto error = [&](ErrorSums AttentionQuality::*part) {
    return measured(q.attention_error(part), attention);
  };
  std::vector<Cell> row = {c.name,
                           q.bits_per_value(),
                           q.ratio(),
                           q.ratio_with_sinks(),
                           error(&AttentionQuality::both),
                           error(&AttentionQuality::key),
                           error(&AttentionQuality::value)};
  append_errors(row, q.errors(Kind::key));
  append_errors(row, q.errors(Kind::value));
  const double tokens = double(q.tokens), megabytes = q.f16_bytes() / 1e6;
  row.insert(row.end(),
             {measured(q.key_entropy_bits), measured(q.value_entropy_bits), int64_t(q.state_bytes),
              measured(q.payback_tokens()), tokens / q.encode_seconds, tokens / q.decode_seconds,
              megabytes / q.encode_seconds, megabytes / q.decode_seconds, int64_t(q.bytes),
              int64_t(q.tokens), int64_t(q.sink_tokens), int64_t(q.query_positions), c.pipeline});
  return row;
}

std::string side_data_clause(const CodecQuality& q) {
  if (q.state_bytes == 0) return "no side data";
  const auto payback = q.payback_tokens();
  if (!payback) return "larger than f16, so its side data never pay";
  return fmt::format("{:.2f} MB of side data are paid back after {:.0f} tokens",
                     double(q.state_bytes) / 1e6, *payback);
}

Cell unit_bits(const UnitQuality& unit) {
  return measured(8 * double(unit.bytes) / double(unit.errors.sums().count), unit.bytes > 0);
}

}  // namespace

Table evaluate_table(const std::vector<EvaluatedCodec>& codecs) {
  Table table("evaluate", "Codecs on this dump", codec_columns());
  for (const EvaluatedCodec& c : codecs) table.add(codec_row(c));
  return table;
}

Table evaluate_layers_table(const std::vector<EvaluatedCodec>& codecs) {
  std::vector<Column> columns = {{"codec"}, {"layer"}, {"kind"}, {"bits_per_value", 3}};
  const auto errors = error_columns("");
  columns.insert(columns.end(), errors.begin(), errors.end());
  columns.push_back({"attention_error_alone", 4});  // only this kind of this layer compressed
  columns.push_back({"attention_error", 4});        // keys and values compressed
  Table table("evaluate_layers", "Layer by layer", std::move(columns));
  for (const EvaluatedCodec& c : codecs) {
    const CodecQuality& q = c.quality;
    for (size_t i = 0; i < q.units.size(); ++i) {
      const UnitQuality& unit = q.units[i];
      std::vector<Cell> row = {c.name, int64_t(unit.layer), name(unit.kind), unit_bits(unit)};
      append_errors(row, unit.errors);
      if (has_attention(q)) {
        const AttentionQuality& a = q.attention[i / 2];
        row.emplace_back((unit.kind == Kind::key ? a.key : a.value).relative_rms());
        row.emplace_back(a.both.relative_rms());
      } else {
        row.insert(row.end(), 2, Cell());
      }
      table.add(std::move(row));
    }
  }
  return table;
}

Figure evaluate_figure(const std::vector<EvaluatedCodec>& codecs) {
  const bool attention = !codecs.empty() && has_attention(codecs.front().quality);
  const char* error = attention ? "relative error of attention" : "relative error of vectors";
  Panel bits{"Error against size", "bits per value", error, {}};
  Panel layers{"Error by layer", "layer", error, {}};
  bits.log_y = layers.log_y = true;
  for (const EvaluatedCodec& c : codecs) {
    const CodecQuality& q = c.quality;
    const double error_of_all = headline_error(q);
    if (error_of_all <= 0) continue;  // exact, which a logarithm cannot show
    bits.series.push_back(
        {c.name, {q.bits_per_value()}, {error_of_all}, {}, Series::Style::points, {}});
    Series by_layer{c.name, {}, {}, {}, Series::Style::line_points, {}};
    for (size_t l = 0; 2 * l < q.units.size(); ++l) {
      ErrorSums vectors = q.units[2 * l].errors.sums();
      vectors += q.units[2 * l + 1].errors.sums();
      const double y = attention ? q.attention[l].both.relative_rms() : vectors.relative_rms();
      if (y <= 0) continue;
      by_layer.x.push_back(q.units[2 * l].layer);
      by_layer.y.push_back(y);
    }
    layers.series.push_back(std::move(by_layer));
  }
  return {"evaluate_errors",
          attention ? "Relative rms error of attention outputs with the model's own queries, keys "
                      "and values compressed; lower left is better. Exact codecs are left out."
                    : "Relative rms error of keys and values; the dump holds no queries, so "
                      "attention is not compared.",
          {std::move(bits), std::move(layers)},
          2};
}

std::vector<std::string> evaluate_findings(const std::vector<EvaluatedCodec>& codecs) {
  std::vector<std::string> list;
  for (const EvaluatedCodec& c : codecs) {
    const CodecQuality& q = c.quality;
    std::string line = fmt::format("{}: {:.2f} bits per value ({:.1f}x smaller than f16)", c.name,
                                   q.bits_per_value(), q.ratio());
    line += has_attention(q)
                ? fmt::format(
                      "; attention outputs off by {:.1f} % (keys alone {:.1f} %, values "
                      "alone {:.1f} %)",
                      100 * q.attention_error(&AttentionQuality::both),
                      100 * q.attention_error(&AttentionQuality::key),
                      100 * q.attention_error(&AttentionQuality::value))
                : std::string("; the dump holds no queries, so attention is not compared");
    line += fmt::format("; cosine of keys {:.4f}, of values {:.4f}",
                        q.errors(Kind::key).cosine_mean(), q.errors(Kind::value).cosine_mean());
    list.push_back(line + "; " + side_data_clause(q) + ".");
  }
  return list;
}

Result<> add_evaluation(const std::vector<EvaluatedCodec>& codecs, Results& results) {
  for (const auto& sentence : evaluate_findings(codecs)) results.finding(sentence);
  results.note("keys", "compared before rotary embedding; it turns both sides alike");
  KVS_TRY(results.add(evaluate_figure(codecs)));
  KVS_TRY(results.add(evaluate_table(codecs)));
  return results.add(evaluate_layers_table(codecs));
}

}  // namespace kvsplice::report
