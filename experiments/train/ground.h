// What all trainings of the study share: the vocabulary, and texts as its tokens.
#pragma once

#include <filesystem>

#include "experiments/experiment.h"
#include "experiments/train/variants.h"
#include "train/lm/export.h"

namespace kvsplice::experiment::train {

struct JudgedText {
  std::string name;
  std::vector<lm::Token> tokens;  // whole sequences
  size_t length = 0;              // of a sequence, in tokens that are predicted
  size_t bytes = 0;               // of all that are predicted

  MatrixView<const lm::Token> sequences() const {
    return {tokens.data(), tokens.size() / (length + 1), length + 1};
  }
};

struct Ground {
  Options options;
  std::filesystem::path dir;
  std::string identity;  // of model file, texts and settings, for journals
  lm::Vocabulary vocabulary;
  std::vector<lm::Token> training;
  // The last sixteenth of each training text, which settings may be chosen by; then the test texts.
  std::vector<JudgedText> judged;
  sweep::Team team;
  Progress progress;

  size_t test_texts() const { return judged.size() - 1; }
};

// The tokens are llama.cpp's, of a model that is made for it. Error usage if a text is too short.
Result<Ground> open_ground(const Options& options, const Setting& setting);

}  // namespace kvsplice::experiment::train
