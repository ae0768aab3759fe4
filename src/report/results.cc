#include "report/results.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "core/file_hash.h"
#include "core/version.h"
#include "report/machine.h"
#include "report/text.h"

namespace kvsplice::report {

namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr int kManifestFormat = 1;

// Bytes that are not UTF-8 (a path, say) are replaced, never thrown over.
std::string dumped(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

Json machine_json() {
  const Machine m = this_machine();
  return {{"cpu", m.cpu},           {"cores", m.cores}, {"memory_bytes", m.memory}, {"os", m.os},
          {"compiler", m.compiler}, {"simd", m.simd},   {"openblas", m.blas}};
}

Json columns_json(const Table& table) {
  Json columns = Json::array();
  for (const auto& c : table.columns()) {
    columns.push_back({{"name", c.name}, {"decimals", c.decimals}, {"shown", c.in_text}});
  }
  return columns;
}

// Texts that are JSON already, as an array.
Json parsed(const std::vector<std::string>& texts) {
  Json array = Json::array();
  for (const auto& text : texts) array.push_back(Json::parse(text));
  return array;
}

void set(std::vector<std::pair<std::string, std::string>>& notes, const std::string& key,
         std::string value) {
  const auto at =
      std::find_if(notes.begin(), notes.end(), [&](const auto& note) { return note.first == key; });
  if (at == notes.end()) {
    notes.emplace_back(key, std::move(value));
  } else {
    at->second = std::move(value);
  }
}

}  // namespace

std::string utc_now() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
}

Result<> make_folder(const fs::path& dir) {
  std::error_code code;
  fs::create_directories(dir, code);
  if (!code) return {};
  return Error{ErrorKind::io, fmt::format("cannot make the results directory {}: {}", dir.string(),
                                          code.message())};
}

Result<Results> Results::create(const fs::path& dir, const std::string& verb,
                                const std::string& command, const std::string& started) {
  KVS_TRY(make_folder(dir));
  KVS_ASSIGN(OutputFile manifest, OutputFile::reserve((dir / "manifest.json").string()));
  Results results(std::move(manifest));
  results.dir_ = dir;
  results.verb_ = verb;
  results.command_ = command;
  results.started_ = started;
  return results;
}

Result<> Results::add_input(const std::string& path) {
  KVS_ASSIGN(const FileHash file, hash_file(path));
  inputs_.push_back(dumped({{"path", path}, {"bytes", file.size}, {"xxh3_128", file.hash}}));
  return {};
}

void Results::add_input(const std::string& path, std::string_view bytes) {
  const ByteSpan all(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  inputs_.push_back(
      dumped({{"path", path}, {"bytes", bytes.size()}, {"xxh3_128", hash128_hex(all)}}));
}

void Results::note(const std::string& key, const std::string& value) {
  set(notes_, key, dumped(value));
}

void Results::note(const std::string& key, double value) { set(notes_, key, dumped(value)); }

void Results::finding(const std::string& sentence) { findings_.push_back(sentence); }

Result<> Results::claim(const std::string& name) {
  if (!is_plain_name(name) || name == "manifest") {
    return Error{ErrorKind::usage,
                 fmt::format("'{}' is not a name for a table or figure; allowed: letters, digits, "
                             "-, _ and . (not first), but not 'manifest'",
                             name)};
  }
  if (!names_.insert(name).second) {
    return Error{ErrorKind::usage, fmt::format("two tables or figures are called '{}'", name)};
  }
  if (names_.size() > 1) return {};
  std::error_code failed;  // the manifest of an earlier run would now describe other files
  fs::remove(dir_ / "manifest.json", failed);
  if (failed) return Error{ErrorKind::io, fmt::format("{}: {}", dir_.string(), failed.message())};
  return {};
}

Result<> Results::add(const Table& table) {
  KVS_TRY(claim(table.name()));
  KVS_TRY(write_text(dir_ / (table.name() + ".csv"), table.csv()));
  KVS_TRY(write_text(dir_ / (table.name() + ".json"), table.json()));
  tables_.push_back(dumped({{"name", table.name()},
                            {"title", table.title()},
                            {"columns", columns_json(table)},
                            {"rows", table.rows().size()}}));
  return {};
}

Result<> Results::add(const Figure& figure) {
  KVS_TRY(claim(figure.name));
  KVS_TRY(draw(figure, dir_));
  figures_.push_back(dumped({{"name", figure.name}, {"caption", figure.caption}}));
  return {};
}

Result<> Results::finish() {
  Json settings = Json::object();
  for (const auto& [key, text] : notes_) settings[key] = Json::parse(text);
  const Json manifest = {{"format", kManifestFormat},  {"program", "kvsplice"},
                         {"version", version()},       {"verb", verb_},
                         {"command", command_},        {"started", started_},
                         {"finished", utc_now()},      {"machine", machine_json()},
                         {"findings", findings_},      {"settings", settings},
                         {"inputs", parsed(inputs_)},  {"tables", parsed(tables_)},
                         {"figures", parsed(figures_)}};
  return write_text(std::move(manifest_), dumped(manifest, 1) + '\n');
}

}  // namespace kvsplice::report
