#include "report/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <nlohmann/json.hpp>

#include "report/text.h"

namespace kvsplice::report {

namespace {

std::string csv_field(const std::string& text) {
  if (!text.empty() && text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted.append(c == '"' ? 2 : 1, c);
  return quoted + '"';
}

// Empty text is quoted, so that it differs from a cell without value; doubles print the shortest
// text that reads back as the same double.
struct CsvCell {
  std::string operator()(std::monostate) const { return ""; }
  std::string operator()(const std::string& text) const { return csv_field(text); }
  std::string operator()(double value) const { return fmt::format("{}", value); }
  std::string operator()(int64_t value) const { return fmt::format("{}", value); }
};

struct JsonCell {
  using Json = nlohmann::ordered_json;
  Json operator()(std::monostate) const { return nullptr; }
  Json operator()(const std::string& text) const { return text; }
  Json operator()(double value) const { return value; }  // not finite: printed as null
  Json operator()(int64_t value) const { return value; }
};

struct ShownCell {
  int decimals;
  std::string operator()(std::monostate) const { return ""; }
  std::string operator()(const std::string& text) const { return clean_text(text); }
  std::string operator()(double value) const {
    const bool fixed = decimals >= 0 && std::abs(value) < 1e15;
    return fixed ? fmt::format("{:.{}f}", value, decimals) : fmt::format("{:.6g}", value);
  }
  std::string operator()(int64_t value) const { return fmt::format("{}", value); }
};

bool is_text(const Cell& cell) { return std::holds_alternative<std::string>(cell); }

// One column as people see it.
struct ShownColumn {
  size_t index;
  bool numeric = true;
  size_t width = 0;
  std::vector<std::string> cells = {};
};

std::vector<ShownColumn> shown_columns(const Table& table) {
  std::vector<ShownColumn> shown;
  for (size_t c = 0; c < table.columns().size(); ++c) {
    const Column& column = table.columns()[c];
    if (!column.in_text) continue;
    ShownColumn s{.index = c, .width = display_width(column.name)};
    for (const auto& row : table.rows()) {
      s.numeric = s.numeric && !is_text(row[c]);
      s.cells.push_back(std::visit(ShownCell{column.decimals}, row[c]));
      s.width = std::max(s.width, display_width(s.cells.back()));
    }
    shown.push_back(std::move(s));
  }
  return shown;
}

std::string padded(const std::string& text, const ShownColumn& column) {
  const std::string space(column.width - display_width(text), ' ');
  return column.numeric ? space + text : text + space;
}

std::string text_line(const std::vector<ShownColumn>& columns, auto&& cell) {
  std::string line;
  for (const auto& column : columns) {
    if (!line.empty()) line += "  ";
    line += padded(cell(column), column);
  }
  while (line.ends_with(' ')) line.pop_back();
  return line + '\n';
}

std::string spaced(std::string name) {
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

// What the page sorts by, where it differs from what is shown.
std::string sort_key(const Cell& cell) {
  return std::holds_alternative<double>(cell)
             ? fmt::format(" data-value=\"{}\"", std::get<double>(cell))
             : "";
}

}  // namespace

void Table::add(std::vector<Cell> row) {
  assert(row.size() == columns_.size());
  rows_.push_back(std::move(row));
}

std::string Table::csv() const {
  std::string out;
  for (size_t c = 0; c < columns_.size(); ++c) out += (c ? "," : "") + csv_field(columns_[c].name);
  out += '\n';
  for (const auto& row : rows_) {
    for (size_t c = 0; c < row.size(); ++c) out += (c ? "," : "") + std::visit(CsvCell{}, row[c]);
    out += '\n';
  }
  return out;
}

std::string Table::json() const {
  auto array = nlohmann::ordered_json::array();
  for (const auto& row : rows_) {
    auto object = nlohmann::ordered_json::object();
    for (size_t c = 0; c < row.size(); ++c) {
      object[columns_[c].name] = std::visit(JsonCell{}, row[c]);
    }
    array.push_back(std::move(object));
  }
  return array.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

std::string Table::text() const {
  const auto columns = shown_columns(*this);
  std::string out = clean_text(title_) + "\n\n";
  out += text_line(columns, [&](const auto& c) { return columns_[c.index].name; });
  out += text_line(columns, [&](const auto& c) { return std::string(c.width, '-'); });
  for (size_t r = 0; r < rows_.size(); ++r) {
    out += text_line(columns, [&](const auto& c) { return c.cells[r]; });
  }
  return out;
}

std::string Table::html() const {
  const auto columns = shown_columns(*this);
  const auto kind = [](const ShownColumn& c) { return c.numeric ? " class=\"number\"" : ""; };
  std::string out = fmt::format("<table>\n<caption>{}</caption>\n<thead><tr>", html_escape(title_));
  for (const auto& c : columns) {
    out += fmt::format("<th scope=\"col\"{}>{}</th>", kind(c),
                       html_escape(spaced(columns_[c.index].name)));
  }
  out += "</tr></thead>\n<tbody>\n";
  for (size_t r = 0; r < rows_.size(); ++r) {
    out += "<tr>";
    for (const auto& c : columns) {
      out += fmt::format("<td{}{}>{}</td>", kind(c), sort_key(rows_[r][c.index]),
                         html_escape(c.cells[r]));
    }
    out += "</tr>\n";
  }
  return out + "</tbody>\n</table>\n";
}

}  // namespace kvsplice::report
