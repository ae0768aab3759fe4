// Messages of the standard input, answered one by one: `kvsplice run --conversation`.
#pragma once

#include "generation.h"
#include "host/chat_template.h"
#include "line_reader.h"

namespace kvsplice::app {

class Conversation {
 public:
  // All have to outlive it.
  Conversation(const RunArguments& a, const host::Model& model, host::ChatTemplate chat,
               Generation& generation, Archive& archive)
      : a_(a), model_(model), chat_(std::move(chat)), generation_(generation), archive_(archive) {}

  // Until the input ends, /exit, or a Ctrl-C that finds nothing to stop. The first message, if it
  // is not empty, is answered before any is read.
  Result<> run(const std::string& first);
  // Error memory if lines of a pipe could not be done, or had no room for all of their answer. Who
  // types has been told.
  Result<> outcome() const;

 private:
  struct Command {
    const char* name;
    const char* argument;
    const char* does;
    Result<> (Conversation::*run)(const std::string& argument);
  };
  static const std::vector<Command>& commands();

  Result<> take_turn(const std::string& message);
  Result<std::vector<host::Token>> tokens_of(const std::string& message) const;
  Result<> answer(std::span<const host::Token> tokens);
  Result<> obey(const std::string& line);
  void complain(const std::string& what);
  std::string room_is_full(const std::string& so) const;

  Result<> save(const std::string& path);
  Result<> load(const std::string& path);
  Result<> show_statistics(const std::string& none);
  Result<> clear(const std::string& none);
  Result<> help(const std::string& none);
  Result<> exit(const std::string& none);

  const RunArguments& a_;
  const host::Model& model_;
  host::ChatTemplate chat_;
  Generation& generation_;
  Archive& archive_;
  LineReader input_;
  bool ended_ = false;
  size_t undone_ = 0;  // lines
};

}  // namespace kvsplice::app
