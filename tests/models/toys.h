// The toy models of toys.txt.
#pragma once

#include <optional>

#include "host/tiny_model_test.h"

namespace kvsplice::testing {

struct Key {
  std::string name;               // behind "ARCHITECTURE."
  std::vector<int32_t> integers;  // several: one for each layer
  std::optional<float> number = {};
  std::optional<bool> truth = {};
};

struct Toy {
  std::string name, architecture;
  std::map<std::string, Key> keys;

  friend void PrintTo(const Toy& toy, std::ostream* out) { *out << toy.name; }
};

inline std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  std::istringstream stream(text);
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

inline Key key_of(const std::string& word) {
  const size_t at = word.find('=');
  if (at == word.npos) throw std::runtime_error("toys.txt: '" + word + "' is no group and no key");
  const std::string value = word.substr(at + 1);
  Key key{word.substr(0, at), {}};
  if (value == "true" || value == "false") {
    key.truth = value == "true";
    return key;
  }
  if (value.find('.') != value.npos) {
    key.number = std::stof(value);
    return key;
  }
  std::istringstream numbers(value);
  for (std::string one; std::getline(numbers, one, ',');) key.integers.push_back(std::stoi(one));
  return key;
}

inline std::vector<Toy> toys() {
  std::map<std::string, std::string> groups;
  std::vector<Toy> all;
  std::ifstream file(std::string(KVSPLICE_SOURCE_DIR) + "/tests/models/toys.txt");
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    const size_t colon = line.find(':');
    const std::string name = line.substr(0, colon), rest = line.substr(colon + 1);
    if (name.starts_with("group ")) {
      groups[name.substr(6)] = rest;
      continue;
    }
    Toy toy{name, name.substr(0, name.find('+')), {}};
    const auto add = [&](const std::string& words) {
      for (const std::string& word : words_of(words)) {
        const Key key = key_of(word);
        toy.keys[key.name] = key;
      }
    };
    add(groups.at("every"));
    for (const std::string& word : words_of(rest)) {
      add(groups.contains(word) ? groups.at(word) : word);
    }
    all.push_back(toy);
  }
  return all;
}

}  // namespace kvsplice::testing
