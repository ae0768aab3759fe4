#include "conversation.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "core/errors.h"
#include "host/texts.h"
#include "terminal.h"

namespace kvsplice::app {

namespace {

// The standard output is for answers alone.
void say(const std::string& line) { fmt::print(stderr, "{}\n", line); }

bool is_blank(const std::string& text) { return text.find_first_not_of(" \t\r\n") == text.npos; }

}  // namespace

const std::vector<Conversation::Command>& Conversation::commands() {
  static const std::vector<Command> all = {
      {"/save", " [FILE]", "save the conversation, to the file of --save if none is named",
       &Conversation::save},
      {"/load", " FILE", "go on from a saved one instead of this one", &Conversation::load},
      {"/stats", "", "tokens, bytes of the cache, tokens a second", &Conversation::show_statistics},
      {"/clear", "", "begin anew; what was not saved is lost", &Conversation::clear},
      {"/help", "", "show this", &Conversation::help},
      {"/exit", "", "end, like Ctrl-D; with --save the conversation is saved",
       &Conversation::exit}};
  return all;
}

Result<> Conversation::run(const std::string& first) {
  const std::string prompt = a_.quiet ? "" : "> ";
  if (!a_.quiet) {
    say(fmt::format("{}: room for {} tokens; /help shows what can be done",
                    model_.shape().model_name, generation_.room_left()));
  }
  if (!is_blank(first)) {
    if (!a_.quiet) put_out(prompt + first + "\n");
    KVS_TRY(take_turn(first));
  }
  while (!ended_ && !interrupted()) {
    put_out(prompt);
    KVS_ASSIGN(const auto message, input_.message());
    if (!message && !a_.quiet) put_out("\n");
    if (!message) break;
    if (is_blank(*message)) continue;
    KVS_TRY(message->starts_with('/') ? obey(*message) : take_turn(*message));
  }
  return {};
}

Result<> Conversation::outcome() const {
  if (undone_ == 0 || ::isatty(STDIN_FILENO) != 0) return {};
  return Error{ErrorKind::memory, fmt::format("{} line{} could not be done, or not all of it",
                                              undone_, undone_ > 1 ? "s" : "")};
}

void Conversation::complain(const std::string& what) {
  ++undone_;
  say("kvsplice: " + what);
}

// One more than there is room for is enough to say that it is too long.
Result<std::vector<host::Token>> Conversation::tokens_of(const std::string& message) const {
  const bool begins = generation_.tokens().empty();
  KVS_ASSIGN(const std::string text,
             begins ? chat_.first(a_.system, message) : chat_.next(message));
  const size_t left = generation_.room_left();
  KVS_ASSIGN(auto tokens,
             host::tokenize(model_, text, {.begins = begins, .markers = true, .most = left + 1}));
  if (tokens.size() <= left) return tokens;
  return Error{ErrorKind::memory, room_is_full("this message is not taken")};
}

Result<> Conversation::take_turn(const std::string& message) {
  const auto tokens = tokens_of(message);
  if (tokens.ok()) return answer(*tokens);
  complain(tokens.error().message);
  return {};
}

Result<> Conversation::answer(std::span<const host::Token> tokens) {
  generation_.add(tokens);
  KVS_TRY(generation_.evaluate());
  if (!interrupted()) KVS_TRY(generation_.generate(a_.most_new()));
  put_out("\n");
  take_interrupt_back();
  if (generation_.stopped_for_room()) complain(room_is_full("the answer ends here"));
  return {};
}

std::string Conversation::room_is_full(const std::string& so) const {
  return fmt::format(
      "{} leaves room for {} tokens: {}. Nothing was dropped; /save keeps the conversation, /clear "
      "begins anew",
      generation_.room().bounded_by, generation_.room_left(), so);
}

// What goes wrong with a command leaves the conversation as it is.
Result<> Conversation::obey(const std::string& line) {
  const size_t end = std::min(line.find(' '), line.size());
  const std::string name = line.substr(0, end);
  const size_t from = std::min(line.find_first_not_of(' ', end), line.size());
  const size_t to = line.find_last_not_of(" \r") + 1;
  const std::string argument = from < to ? line.substr(from, to - from) : "";
  const auto& all = commands();
  const auto command = std::find_if(all.begin(), all.end(), [&](const Command& c) {
    return name == c.name || name == std::string(c.name) + "\r";
  });
  if (command == all.end()) {
    std::string legal;
    for (const Command& c : all)
      legal += fmt::format("{}{}{}", legal.empty() ? "" : ", ", c.name, c.argument);
    complain(fmt::format("{} is no command; legal: {}", name, legal));
    return {};
  }
  const auto done = (this->*command->run)(argument);
  end_progress();
  if (!done.ok()) complain(done.error().message);
  return {};
}

Result<> Conversation::save(const std::string& path) {
  const std::string& to = path.empty() ? a_.save : path;
  if (to.empty()) return usage_error("name a file: /save FILE");
  if (generation_.tokens().empty()) return usage_error("there is nothing to save yet");
  const auto saved = archive_.save_to(to, generation_.context(), generation_.tokens());
  if (!a_.save.empty()) KVS_TRY(archive_.hold(a_.save));
  if (!saved.ok()) return saved.error();
  say(fmt::format("saved {}: {}", to, *saved));
  return {};
}

Result<> Conversation::load(const std::string& path) {
  if (path.empty()) return usage_error("name a file: /load FILE");
  KVS_ASSIGN(const Archive::Size size, archive_.open(path));
  if (size.tokens() > generation_.room().tokens) {
    return usage_error(fmt::format("{} has {} tokens, more than {}", path, size.tokens(),
                                   generation_.room().bounded_by));
  }
  KVS_TRY(generation_.restore());
  if (!a_.save.empty()) KVS_TRY(archive_.hold(a_.save));
  say(fmt::format("{}: {} tokens", path, generation_.tokens().size()));
  return {};
}

Result<> Conversation::show_statistics(const std::string&) {
  for (const std::string& line : generation_.statistics()) say(line);
  return {};
}

Result<> Conversation::clear(const std::string&) {
  generation_.clear();
  archive_.forget();
  return a_.save.empty() ? Result<>() : archive_.hold(a_.save);
}

Result<> Conversation::help(const std::string&) {
  for (const Command& c : commands())
    say(fmt::format("{:<14} {}", std::string(c.name) + c.argument, c.does));
  say("Ctrl-C stops an answer; a backslash at the end of a line lets the message go on");
  return {};
}

Result<> Conversation::exit(const std::string&) {
  ended_ = true;
  return {};
}

}  // namespace kvsplice::app
