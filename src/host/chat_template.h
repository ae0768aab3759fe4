// What stands between the messages of a conversation, as the model was trained to read it.
#pragma once

#include <string>
#include <vector>

#include "kvsplice/result.h"

namespace kvsplice::host {

class Model;

class ChatTemplate {
 public:
  // The model's own, or one that llama.cpp has by that name. Error unsupported, which lists the
  // names, if the model has none or one that llama.cpp does not know.
  static Result<ChatTemplate> of(const Model& model, const std::string& name = {});
  static std::vector<std::string> names();

  // Text of a conversation that begins, up to where the answer begins. No system prompt: empty.
  Result<std::string> first(const std::string& system, const std::string& message) const;
  // What follows an answer whose end marker has not been evaluated: that marker, and all up to
  // where the next answer begins.
  Result<std::string> next(const std::string& message) const;

 private:
  explicit ChatTemplate(std::string text) : text_(std::move(text)) {}
  std::string text_;  // or a name
};

}  // namespace kvsplice::host
