// Finished work, one JSON object a line, so that an interrupted study goes on where it stopped. A
// record is a struct with `visit_fields(record, f)`, which calls f(name, field) for all of them.
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "kvsplice/result.h"

namespace kvsplice::experiment {

template <class Record>
class Journal {
 public:
  // Reads the records of an earlier run; a last line cut short is passed over.
  static Result<Journal> open(const std::filesystem::path& path) {
    Journal journal;
    journal.path_ = path;
    bool whole = true;  // the last line ends
    std::ifstream in(path);
    for (std::string line; std::getline(in, line);) {
      journal.read(line);
      whole = !in.eof();
    }
    KVS_TRY(journal.append(whole ? "" : "\n"));
    return journal;
  }

  const Record* find(const std::string& key) const {
    const auto found = records_.find(key);
    return found == records_.end() ? nullptr : &found->second;
  }

  Result<> add(const std::string& key, const Record& record) {  // and writes it at once
    nlohmann::json json = {{"key", key}};
    visit_fields(record, [&](const char* name, const auto& value) { json[name] = value; });
    KVS_TRY(append(json.dump() + "\n"));
    records_[key] = record;
    return {};
  }

  size_t size() const { return records_.size(); }

 private:
  void read(const std::string& line) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object()) return;
    try {
      Record record;
      visit_fields(record, [&](const char* name, auto& value) { json.at(name).get_to(value); });
      records_[json.at("key").template get<std::string>()] = record;
    } catch (const nlohmann::json::exception&) {  // of another version: done again
    }
  }

  Result<> append(const std::string& text) const {
    std::ofstream out(path_, std::ios::app);
    out << text;
    if (!out.flush()) return Error{ErrorKind::io, path_.string() + ": cannot be written"};
    return {};
  }

  std::filesystem::path path_;
  std::map<std::string, Record> records_;
};

}  // namespace kvsplice::experiment
