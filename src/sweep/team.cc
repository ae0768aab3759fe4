#include "sweep/team.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <thread>

#include "core/threads.h"
#include "sweep/claim.h"

namespace kvsplice::sweep {

namespace {

using std::chrono::milliseconds;

// How long to wait before one looks again at what others are doing: longer every time.
constexpr milliseconds kFirstGlance(20), kLastGlance(1000);

// One list of jobs, and what this process knows of them.
class Sharing {
 public:
  Sharing(const Rank& rank, const std::filesystem::path& folder, const std::vector<Job>& jobs,
          const Progress& progress, std::atomic<size_t>& done_here)
      : rank_(rank),
        folder_(folder),
        jobs_(jobs),
        progress_(progress),
        done_here_(done_here),
        states_(jobs.size(), State::open),
        next_(rank.number * jobs.size() / rank.count) {}

  Result<> run(size_t at_once) {
    if (at_once <= 1) return run_in_line();
    return parallel_try(at_once, [this](size_t) { return run_in_line(); });
  }

 private:
  enum class State { open, taken_here, done };
  struct Turn {
    const Job* job = nullptr;    // none: all that are left are others'
    std::optional<Claim> claim;  // none of a team of one
    bool nothing_is_left = false;
  };

  Result<> run_in_line() {
    for (milliseconds glance = kFirstGlance;;) {
      KVS_ASSIGN(const Turn turn, next());
      if (turn.nothing_is_left) return {};
      if (turn.job != nullptr) {
        KVS_TRY(do_it(*turn.job));
        glance = kFirstGlance;
      } else {
        KVS_TRY(progress_.step("waiting for other ranks", done(), jobs_.size()));
        std::this_thread::sleep_for(glance);
        glance = std::min(2 * glance, kLastGlance);
      }
    }
  }

  // Ranks begin at different places of the list, so that they seldom want the same.
  Result<Turn> next() {
    const std::lock_guard lock(guard_);
    bool is_left = false;
    for (size_t k = 0; k < jobs_.size() && !failed_; ++k) {
      const size_t i = (next_ + k) % jobs_.size();
      if (states_[i] != State::open || is_done(i)) continue;
      Turn turn;
      if (!rank_.is_alone()) {
        KVS_ASSIGN(turn.claim, Claim::take(folder_, jobs_[i].name));
        is_left |= !turn.claim;
        if (!turn.claim || is_done(i)) continue;  // who had it may just have finished
      }
      states_[i] = State::taken_here;
      next_ = i + 1;
      turn.job = &jobs_[i];
      return turn;
    }
    return Turn{nullptr, std::nullopt, !is_left};
  }

  bool is_done(size_t i) {
    if (jobs_[i].is_done()) states_[i] = State::done;
    return states_[i] == State::done;
  }

  Result<> do_it(const Job& job) {
    const Result<> worked = job.work();
    const std::lock_guard lock(guard_);
    failed_ = failed_ || !worked.ok();
    states_[size_t(&job - jobs_.data())] = State::done;
    if (worked.ok()) ++done_here_;
    return worked;
  }

  size_t done() {
    const std::lock_guard lock(guard_);
    return size_t(std::count(states_.begin(), states_.end(), State::done));
  }

  const Rank& rank_;
  const std::filesystem::path& folder_;
  const std::vector<Job>& jobs_;
  const Progress& progress_;
  std::atomic<size_t>& done_here_;
  std::mutex guard_;
  std::vector<State> states_;
  size_t next_;  // where to look first
  bool failed_ = false;
};

}  // namespace

Job job_of_file(const std::filesystem::path& file, std::function<Result<>()> work) {
  const auto is_there = [file] {
    std::error_code unknown;
    return std::filesystem::exists(file, unknown);
  };
  return {file.filename().string(), is_there, std::move(work)};
}

Result<> Team::share(const std::filesystem::path& folder, const std::vector<Job>& jobs,
                     const Progress& progress, size_t at_once) const {
  return Sharing(rank_, folder, jobs, progress, *done_here_).run(at_once);
}

Result<> Team::in_turn(const std::filesystem::path& folder, const std::string& name,
                       const std::function<Result<>()>& work, const Progress& progress) const {
  if (is_alone()) return work();
  const std::vector<Job> turn = {{name, [] { return false; }, work}};
  std::atomic<size_t> not_counted = 0;
  return Sharing(rank_, folder, turn, progress, not_counted).run(1);
}

}  // namespace kvsplice::sweep
