// A table is written once and comes out as CSV, JSON, aligned text and HTML.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace kvsplice::report {

using Cell = std::variant<std::monostate, std::string, double, int64_t>;

struct Column {
  std::string name;     // as in CSV: lower case with underscores
  int decimals = -1;    // for text and HTML; -1: six significant digits. CSV and JSON are exact.
  bool in_text = true;  // shown on the terminal and the page, or only in the files
};

class Table {
 public:
  Table(std::string name, std::string title, std::vector<Column> columns)
      : name_(std::move(name)), title_(std::move(title)), columns_(std::move(columns)) {}

  void add(std::vector<Cell> row);  // one cell per column

  const std::string& name() const { return name_; }    // file name without extension
  const std::string& title() const { return title_; }  // one line for people
  const std::vector<Column>& columns() const { return columns_; }
  const std::vector<std::vector<Cell>>& rows() const { return rows_; }

  std::string csv() const;
  std::string json() const;  // an array of objects
  std::string text() const;
  std::string html() const;

 private:
  std::string name_, title_;
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace kvsplice::report
