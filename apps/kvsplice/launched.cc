#include "launched.h"

#include <cstdlib>
#include <filesystem>

namespace kvsplice::app {

namespace {

Result<sweep::Rank> launched_rank() {
  return sweep::rank_of([](const char* name) { return std::getenv(name); });
}

}  // namespace

Result<sweep::Team> launched_team() {
  KVS_ASSIGN(const sweep::Rank rank, launched_rank());
  return sweep::Team(rank);
}

std::string rank_prefix() {
  const auto rank = launched_rank();
  return !rank.ok() || rank->is_alone() ? "" : rank->text() + ": ";
}

TeamOutput::TeamOutput(std::string path) : path_(std::move(path)), before_(os::state_at(path_)) {}

Result<> TeamOutput::write(const sweep::Team& team, const std::function<Result<>()>& work,
                           const Progress& progress) const {
  const auto is_written = [this] {
    const auto now = os::state_at(path_);
    return now && !(before_ && before_->is_same_file(*now));
  };
  const std::filesystem::path path = path_;
  const auto folder = path.has_parent_path() ? path.parent_path() : ".";
  return team.share(folder, {{"write " + path.filename().string(), is_written, work}}, progress);
}

}  // namespace kvsplice::app
