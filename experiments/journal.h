// Finished work, one JSON object a line, so that an interrupted study goes on where it stopped and
// the processes of a team see what the others have done. A record is a struct with
// `visit_fields(record, f)`, which calls f(name, field) for all of them.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "sweep/shared_lines.h"

namespace kvsplice::experiment {

template <class Record>
class Journal {
 public:
  // With the records of earlier runs and of other processes; a line cut short is passed over.
  static Result<Journal> open(const std::filesystem::path& path) {
    Journal journal(path);
    KVS_TRY(journal.read_more());
    return journal;
  }

  const Record* find(const std::string& key) const {
    const auto found = records_.find(key);
    return found == records_.end() ? nullptr : &found->second;
  }

  // Looks again for what other processes have added. What cannot be read is not there.
  bool has(const std::string& key) {
    if (find(key) == nullptr) (void)read_more().ok();
    return find(key) != nullptr;
  }

  Result<> add(const std::string& key, const Record& record) {  // and writes it at once
    nlohmann::json json = {{"key", key}};
    visit_fields(record, [&](const char* name, const auto& value) { json[name] = value; });
    KVS_TRY(lines_.add(json.dump()));
    records_[key] = record;
    return {};
  }

 private:
  explicit Journal(const std::filesystem::path& path) : lines_(path) {}

  Result<> read_more() {
    KVS_ASSIGN(const auto lines, lines_.more());
    for (const std::string& line : lines) read(line);
    return {};
  }

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

  sweep::SharedLines lines_;
  std::map<std::string, Record> records_;
};

}  // namespace kvsplice::experiment
