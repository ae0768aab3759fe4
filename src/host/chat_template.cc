#include "host/chat_template.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <llama.h>

#include <algorithm>
#include <limits>

#include "core/errors.h"
#include "host/model_impl.h"

namespace kvsplice::host {

namespace {

// Templates may put several times as much around and between messages.
constexpr size_t kMostBytes = size_t{std::numeric_limits<int32_t>::max()} / 8;

// Nothing if llama.cpp does not know the template.
std::optional<std::string> rendered(const std::string& text,
                                    const std::vector<llama_chat_message>& messages) {
  std::string made;
  const auto write = [&] {
    return llama_chat_apply_template(text.c_str(), messages.data(), messages.size(), true,
                                     made.data(), static_cast<int32_t>(made.size()));
  };
  const int32_t size = write();
  if (size < 0) return {};
  made.resize(size_t(size) + 1);  // it ends with a zero
  write();
  made.resize(size_t(size));
  return made;
}

Error not_applied() {
  return {ErrorKind::unsupported, "llama.cpp cannot apply the chat template to these messages"};
}

Result<> check_message(const std::string& text) {
  if (text.find('\0') != text.npos) return usage_error("a message has a zero byte");
  if (text.size() <= kMostBytes) return {};
  return usage_error(
      fmt::format("a message has {} bytes; at most {} are allowed", text.size(), kMostBytes));
}

// The first line of a template, or as much as fits a message.
std::string beginning_of(const std::string& text) {
  constexpr size_t kShown = 40;
  std::string shown = text.substr(0, std::min(text.find('\n'), kShown));
  for (char& c : shown) c = c < ' ' ? ' ' : c;  // part of a character, too, but that is at the end
  return shown;
}

}  // namespace

std::vector<std::string> ChatTemplate::names() {
  std::vector<const char*> known(size_t(llama_chat_builtin_templates(nullptr, 0)));
  llama_chat_builtin_templates(known.data(), known.size());
  std::vector<std::string> names(known.begin(), known.end());
  std::sort(names.begin(), names.end());
  return names;
}

Result<ChatTemplate> ChatTemplate::of(const Model& model, const std::string& name) {
  const auto known = names();
  const auto choose = [&](ErrorKind kind, const std::string& why) {
    return Error{kind, fmt::format("{}; --chat-template takes: {}", why, fmt::join(known, ", "))};
  };
  if (!name.empty()) {
    if (std::find(known.begin(), known.end(), name) != known.end()) return ChatTemplate(name);
    return choose(ErrorKind::usage, fmt::format("no chat template is called '{}'", name));
  }
  const char* own = llama_model_chat_template(model.impl().model.get(), nullptr);
  if (own == nullptr) {
    return choose(ErrorKind::unsupported, model.path() + " has no chat template");
  }
  ChatTemplate made(own);
  if (made.next("a").ok()) return made;
  return choose(ErrorKind::unsupported,
                fmt::format("llama.cpp does not know the chat template of {}, which begins '{}'",
                            model.path(), beginning_of(own)));
}

Result<std::string> ChatTemplate::first(const std::string& system,
                                        const std::string& message) const {
  KVS_TRY(check_message(system));
  KVS_TRY(check_message(message));
  std::vector<llama_chat_message> messages;
  if (!system.empty()) messages.push_back({"system", system.c_str()});
  messages.push_back({"user", message.c_str()});
  const auto text = rendered(text_, messages);
  if (!text) return not_applied();
  return *text;
}

// Templates trim messages, and some write an answer that is to come otherwise than one that is
// there. So what follows an answer is found behind a stand-in for it.
Result<std::string> ChatTemplate::next(const std::string& message) const {
  KVS_TRY(check_message(message));
  const std::string answer = "[answer]";
  const auto text =
      rendered(text_, {{"user", "a"}, {"assistant", answer.c_str()}, {"user", message.c_str()}});
  const size_t at = text ? text->find(answer) : std::string::npos;
  if (at == std::string::npos) return not_applied();
  return text->substr(at + answer.size());
}

}  // namespace kvsplice::host
