// A results directory: manifest.json (command, version, seeds, hashes of inputs, machine), tables
// as CSV and JSON, figures as SVG and PNG. `kvsplice report` turns one or more of them into a page.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "core/output_file.h"
#include "report/figure.h"
#include "report/table.h"

namespace kvsplice::report {

std::string utc_now();
Result<> make_folder(const std::filesystem::path& dir);  // for results, if need be

class Results {
 public:
  // Makes the directory if needed, before the work begins, and keeps other programs out of it.
  // What it held stays until something is added. `verb`, `command` (the whole command line) and the
  // time when the work began go to the manifest.
  static Result<Results> create(const std::filesystem::path& dir, const std::string& verb,
                                const std::string& command, const std::string& started = utc_now());

  Result<> add_input(const std::string& path);  // its size and hash
  void add_input(const std::string& path, std::string_view bytes);
  void note(const std::string& key, const std::string& value);  // a setting or a remark
  void note(const std::string& key, double value);
  void finding(const std::string& sentence);  // shown on top of the page
  Result<> add(const Table& table);
  Result<> add(const Figure& figure);
  Result<> finish();  // writes manifest.json, last

  const std::filesystem::path& dir() const { return dir_; }

 private:
  explicit Results(OutputFile manifest) : manifest_(std::move(manifest)) {}
  Result<> claim(const std::string& name);  // a table or figure, named once

  OutputFile manifest_;
  std::filesystem::path dir_;
  std::string verb_, command_, started_;
  std::vector<std::string> findings_;
  std::vector<std::pair<std::string, std::string>> notes_;  // values as JSON text
  std::vector<std::string> inputs_;                         // as JSON text
  std::vector<std::string> tables_, figures_;               // as JSON text, in order of the page
  std::set<std::string> names_;
};

// One self-contained HTML page from results directories.
Result<> write_page(const std::vector<std::filesystem::path>& dirs,
                    const std::filesystem::path& out, const std::string& title);

}  // namespace kvsplice::report
