#include "report/manifest.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/file.h"
#include "report/text.h"

namespace kvsplice::report {

namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr int kNewestFormat = 1;

Result<Json> read_json(const fs::path& path) {
  KVS_ASSIGN(const std::string text, read_text(path));
  try {
    return Json::parse(text);
  } catch (const Json::exception& e) {
    return Error{ErrorKind::format, fmt::format("{} is not JSON: {}", path.string(), e.what())};
  }
}

// An object of a file, whose fields are read with their type checked.
class Object {
 public:
  Object(const fs::path& file, const Json& json) : file_(file), json_(json) {}

  Error wrong(std::string_view key, const char* wanted) const {
    return {ErrorKind::format, fmt::format("{}: '{}' must be {}", file_.string(), key, wanted)};
  }

  Result<const Json*> field(const char* key) const {
    if (!json_.is_object() || !json_.contains(key)) {
      return Error{ErrorKind::format, fmt::format("{}: '{}' is missing", file_.string(), key)};
    }
    return &json_[key];
  }

  Result<std::string> text(const char* key) const {
    KVS_ASSIGN(const Json* value, field(key));
    if (!value->is_string()) return wrong(key, "text");
    return value->get<std::string>();
  }

  Result<int64_t> integer(const char* key) const {
    KVS_ASSIGN(const Json* value, field(key));
    if (!value->is_number_integer()) return wrong(key, "an integer");
    return value->get<int64_t>();
  }

  Result<bool> flag(const char* key) const {
    KVS_ASSIGN(const Json* value, field(key));
    if (!value->is_boolean()) return wrong(key, "true or false");
    return value->get<bool>();
  }

  Result<std::string> name(const char* key) const {
    KVS_ASSIGN(std::string value, text(key));
    if (!is_plain_name(value)) return wrong(key, "a plain file name");
    return value;
  }

  // Calls read(Object) for the elements of an array.
  template <class Read>
  Result<> each(const char* key, Read&& read) const {
    KVS_ASSIGN(const Json* value, field(key));
    if (!value->is_array()) return wrong(key, "an array");
    for (const Json& element : *value) KVS_TRY(read(Object(file_, element)));
    return {};
  }

  Result<std::vector<std::string>> texts(const char* key) const {
    std::vector<std::string> out;
    KVS_TRY(each(key, [&](const Object& element) -> Result<> {
      if (!element.json_.is_string()) return wrong(key, "an array of texts");
      out.push_back(element.json_.get<std::string>());
      return {};
    }));
    return out;
  }

  // Texts as they are, numbers as JSON prints them.
  Result<std::vector<std::pair<std::string, std::string>>> pairs(const char* key) const {
    KVS_ASSIGN(const Json* value, field(key));
    if (!value->is_object()) return wrong(key, "an object");
    std::vector<std::pair<std::string, std::string>> out;
    for (const auto& [name, item] : value->items()) {
      if (item.is_structured()) return wrong(name, "text or a number");
      out.emplace_back(name, item.is_string() ? item.get<std::string>() : item.dump());
    }
    return out;
  }

 private:
  const fs::path& file_;
  const Json& json_;
};

Result<std::vector<Column>> read_columns(const Object& table) {
  std::vector<Column> columns;
  KVS_TRY(table.each("columns", [&](const Object& column) -> Result<> {
    KVS_ASSIGN(std::string name, column.text("name"));
    KVS_ASSIGN(const int64_t decimals, column.integer("decimals"));
    KVS_ASSIGN(const bool shown, column.flag("shown"));
    if (decimals < -1 || decimals > 20) return column.wrong("decimals", "-1 ... 20");
    columns.push_back({std::move(name), static_cast<int>(decimals), shown});
    return {};
  }));
  return columns;
}

Result<Cell> read_cell(const Object& row, const std::string& column) {
  KVS_ASSIGN(const Json* value, row.field(column.c_str()));
  if (value->is_null()) return Cell{};
  if (value->is_string()) return Cell{value->get<std::string>()};
  if (value->is_number_integer()) return Cell{value->get<int64_t>()};
  if (value->is_number()) return Cell{value->get<double>()};
  return row.wrong(column, "text, a number or null");
}

Result<Table> read_table(const fs::path& dir, const Object& entry) {
  KVS_ASSIGN(const std::string name, entry.name("name"));
  KVS_ASSIGN(std::string title, entry.text("title"));
  KVS_ASSIGN(std::vector<Column> columns, read_columns(entry));
  const fs::path file = dir / (name + ".json");
  KVS_ASSIGN(const Json rows, read_json(file));
  if (!rows.is_array()) {
    return Error{ErrorKind::format, fmt::format("{} is not an array of rows", file.string())};
  }
  Table table(name, std::move(title), std::move(columns));
  for (const Json& json : rows) {
    const Object row(file, json);
    std::vector<Cell> cells;
    for (const auto& column : table.columns()) {
      KVS_ASSIGN(Cell cell, read_cell(row, column.name));
      cells.push_back(std::move(cell));
    }
    table.add(std::move(cells));
  }
  return table;
}

Result<StoredFigure> read_figure(const fs::path& dir, const Object& entry) {
  StoredFigure figure;
  KVS_ASSIGN(figure.name, entry.name("name"));
  KVS_ASSIGN(figure.caption, entry.text("caption"));
  KVS_ASSIGN(figure.svg, read_text(dir / (figure.name + ".svg")));
  return figure;
}

Result<StoredInput> read_input(const Object& entry) {
  StoredInput input;
  KVS_ASSIGN(input.path, entry.text("path"));
  KVS_ASSIGN(input.bytes, entry.integer("bytes"));
  KVS_ASSIGN(input.hash, entry.text("xxh3_128"));
  return input;
}

// Appends read(element) for each element of an array.
template <class T, class Read>
Result<> read_all(const Object& object, const char* key, std::vector<T>& out, Read&& read) {
  return object.each(key, [&](const Object& element) -> Result<> {
    KVS_ASSIGN(T value, read(element));
    out.push_back(std::move(value));
    return {};
  });
}

}  // namespace

Result<StoredResults> read_results(const fs::path& dir) {
  const fs::path file = dir / "manifest.json";
  KVS_ASSIGN(const Json json, read_json(file));
  const Object manifest(file, json);
  KVS_ASSIGN(const int64_t format, manifest.integer("format"));
  if (format < 1 || format > kNewestFormat) {
    return Error{ErrorKind::unsupported,
                 fmt::format("{} has format {}; this version reads 1 ... {}", file.string(), format,
                             kNewestFormat)};
  }
  StoredResults results;
  results.dir = dir.string();
  KVS_ASSIGN(results.verb, manifest.text("verb"));
  KVS_ASSIGN(results.command, manifest.text("command"));
  KVS_ASSIGN(results.version, manifest.text("version"));
  KVS_ASSIGN(results.started, manifest.text("started"));
  KVS_ASSIGN(results.finished, manifest.text("finished"));
  KVS_ASSIGN(results.machine, manifest.pairs("machine"));
  KVS_ASSIGN(results.settings, manifest.pairs("settings"));
  KVS_ASSIGN(results.findings, manifest.texts("findings"));
  KVS_TRY(read_all(manifest, "inputs", results.inputs, read_input));
  KVS_TRY(read_all(manifest, "tables", results.tables,
                   [&](const Object& entry) { return read_table(dir, entry); }));
  KVS_TRY(read_all(manifest, "figures", results.figures,
                   [&](const Object& entry) { return read_figure(dir, entry); }));
  return results;
}

}  // namespace kvsplice::report
