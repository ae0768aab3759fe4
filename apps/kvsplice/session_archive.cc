// Sessions of llama.cpp's own caches, coded or without loss.
#include <fmt/format.h>

#include <filesystem>

#include "archive.h"
#include "command.h"
#include "host/context_cells.h"

namespace kvsplice::app {

namespace {

class SessionArchive : public Archive {
 public:
  SessionArchive(const RunArguments& a, const LoadedCoder& loaded) : a_(a), loaded_(loaded) {}

  Result<Size> open(const std::string& path) override;
  Result<std::vector<host::Token>> fill(host::Context& context) override;
  Result<> hold(const std::string& path) override;
  Result<std::string> save_to(const std::string& path, const host::Context& context,
                              std::span<const host::Token> tokens) override;
  Result<> note(const host::Context& context) override;
  void forget() override;

 private:
  const ModelShape& shape() const { return loaded_.model->shape(); }
  size_t stored_tokens() const { return session_ ? session_->size() : 0; }
  bool stays(size_t position) const {  // of a state, when the text goes on behind it
    return a_.checkpoint > 0 && position % a_.checkpoint == 0;
  }
  void let_go();
  Result<> carry_states_over();
  Result<> write(const host::Context& context, std::span<const host::Token> tokens);

  const RunArguments& a_;
  const LoadedCoder& loaded_;
  std::optional<codec::Codec> load_codec_;   // if it is another than that to save by
  std::optional<session::Session> opened_;   // to go on from
  std::optional<session::Session> session_;  // what the context has gone on from
  // What will be saved, held: a session that goes on, or a new one.
  std::string held_;  // its path
  std::optional<session::SessionWriter> continued_;
  std::optional<OutputFile> fresh_;
  std::vector<session::RecurrentState> states_;  // to be saved
};

Result<Archive::Size> SessionArchive::open(const std::string& path) {
  KVS_TRY(check_kind(path, false));
  session::Coder coder = loaded_.coder();
  if (!a_.load_codec.empty()) {
    KVS_ASSIGN(load_codec_, codec::Codec::load(a_.load_codec));
    coder.codec = &*load_codec_;
  }
  KVS_ASSIGN(opened_, session::Session::open(path, coder));
  return Size{opened_->size(), opened_->file().index().pending.size()};
}

Result<std::vector<host::Token>> SessionArchive::fill(host::Context& context) {
  auto tokens = host::restore_session(*opened_, shape(), context, terminal_progress());
  if (!tokens.ok() && tokens.error().kind == ErrorKind::numeric) {
    return Error{tokens.error().kind, opened_->file().name() + ": " + tokens.error().message};
  }
  if (!tokens.ok()) return tokens;
  const auto& pending = opened_->file().index().pending;
  tokens->insert(tokens->end(), pending.begin(), pending.end());
  session_ = std::move(opened_);
  opened_.reset();
  states_.clear();
  return tokens;
}

// The blocks of the session that goes on are kept if they are of the same codec: coding them again
// would lose more.
Result<> SessionArchive::hold(const std::string& path) {
  const session::Session* from = opened_ ? &*opened_ : session_ ? &*session_ : nullptr;
  let_go();
  const std::string codec = loaded_.codec ? loaded_.codec->fingerprint() : "";
  if (from != nullptr && from->file().info().codec == codec) {
    KVS_ASSIGN(continued_, session::SessionWriter::continue_at(path, from->file()));
  } else {
    KVS_ASSIGN(fresh_, OutputFile::reserve(path, Readers::owner));
  }
  held_ = path;
  return {};
}

Result<> SessionArchive::note(const host::Context& context) {
  if (!stays(context.size())) return {};
  KVS_ASSIGN(auto state, context.recurrent_state());
  states_.push_back(std::move(state));
  return {};
}

void SessionArchive::let_go() {
  held_.clear();
  continued_.reset();
  fresh_.reset();
}

void SessionArchive::forget() {
  let_go();
  session_.reset();
  opened_.reset();
  states_.clear();
}

// Those of the session loaded, if what is saved is another file's records.
Result<> SessionArchive::carry_states_over() {
  if (!session_ || continued_) return {};
  std::vector<session::RecurrentState> states;
  for (const size_t position : session_->file().state_positions()) {
    if (position >= stored_tokens() && !stays(position)) continue;
    KVS_ASSIGN(auto state, session_->state_at(position));
    states.push_back(std::move(state));
  }
  std::move(states_.begin(), states_.end(), std::back_inserter(states));
  states_ = std::move(states);
  return {};
}

Result<std::string> SessionArchive::save_to(const std::string& path, const host::Context& context,
                                            std::span<const host::Token> tokens) {
  if (path != held_) KVS_TRY(hold(path));
  const auto written = write(context, tokens);
  let_go();
  KVS_TRY(written);
  std::error_code unknown;
  if (!std::filesystem::is_regular_file(path, unknown)) return std::string();
  auto again = session::Session::open(path, loaded_.coder());
  if (!again.ok()) {
    return Error{again.error().kind, "what was saved cannot be read: " + again.error().message};
  }
  session_ = std::move(*again);
  states_.clear();
  return describe_size(session_->file());
}

Result<> SessionArchive::write(const host::Context& context, std::span<const host::Token> tokens) {
  const session::Coder coder = loaded_.coder();
  KVS_ASSIGN(const auto encoding, session::parse_state_encoding(a_.states));
  KVS_ASSIGN(const host::StateCells state, host::cells_of(context, shape(), tokens));
  const KvView& cells = state.cells;
  const size_t n = cells.count(), old = std::min(n, stored_tokens());
  KVS_TRY(carry_states_over());
  const size_t last = states_.empty() ? (continued_ ? old : 0) : states_.back().position;
  if (state.recurrent && n > last) states_.push_back(*state.recurrent);
  if (!continued_) {
    return session::pack(std::move(*fresh_), cells, tokens.subspan(n), coder, a_.pack, {},
                         {.states = states_, .encoding = encoding});
  }
  const auto pending = tokens.subspan(std::max(n, stored_tokens()));
  return session::extend(
      std::move(*continued_), *session_, cells.slice(old, n - old), pending, coder, {},
      {.states = states_, .encoding = encoding, .instead_of = n > old && !stays(old) ? old : 0});
}

}  // namespace

std::unique_ptr<Archive> session_archive(const RunArguments& a, const LoadedCoder& loaded) {
  return std::make_unique<SessionArchive>(a, loaded);
}

}  // namespace kvsplice::app
