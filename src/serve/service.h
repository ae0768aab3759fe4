// The proxy: every request goes to llama-server, and where cells of its prompt are stored they are
// put into a slot before. Nothing here fails a request that llama-server would answer: whatever
// goes wrong ends in the server evaluating the prompt.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "core/temporary_folder.h"
#include "serve/cell_bank.h"
#include "serve/exchange.h"
#include "serve/gate.h"
#include "serve/hot_files.h"
#include "serve/learner.h"
#include "serve/options.h"
#include "serve/record.h"
#include "serve/request.h"
#include "serve/server_process.h"
#include "serve/slot_trial.h"
#include "serve/slots.h"
#include "serve/upstream.h"

namespace kvsplice::serve {

class Service {
 public:
  // What is wrong with the options, the store or the folders is said here. coder: what cells are
  // coded by; it must outlive the service. Without a codec it takes the one that was learnt here.
  static Result<std::unique_ptr<Service>> create(Options options, session::Coder coder);
  ~Service();  // saves what slots hold, ends the server

  // Starts the server, or looks for it, and goes on with its own threads. A server that ends by
  // itself before it was ever there would end again: `give_up` is called, by another thread, and
  // outcome() says why.
  Result<> start(std::function<void()> give_up);
  Result<> outcome() const;

  // A request on its way through. Who asks for one must keep it until the answer has been handed
  // on or the client has left.
  class Passage;
  // `gone` is asked now and then whether nobody waits any more.
  std::unique_ptr<Passage> begin(OutgoingRequest request, const std::string& path,
                                 const std::function<bool()>& gone);

  // Whether llama-server answers a client with this key.
  bool admits(const std::string& key);

  Json status() const;
  std::string metrics() const;  // as Prometheus reads them

 private:
  enum class State { starting, testing, ready, passing };  // passing: nothing is restored
  static const char* name(State state);
  // A slot's cells in a file, to be taken into the store.
  struct SlotFile {
    std::string tenant, path;
    size_t prompt = 0;
    std::shared_ptr<const CellBank> bank;  // where they belong, whatever the server is asked next
    std::string hot_key;
  };
  struct Restored {
    size_t tokens = 0;
    double seconds = 0;
    std::string why_not;
  };
  Service(Options options, session::Coder coder, store::Store store, TemporaryFolder own);

  // The server.
  std::vector<std::string> server_arguments() const;
  void clear_own_folder();
  void lost_server(const std::string& how);  // whatever lay in its slots is gone
  bool is_worth_another_start(const ServerProcess::End& end);
  void doubt_if_asleep();
  void look_again(const std::string& why);
  void open_banks();
  CellBank exact_bank();
  Result<> make_ready();  // once for each start of the server
  bool is_ready() const;
  SlotTrial trial() const;
  // Requests with prompts wait until the server is there and tested: before they would fail, or be
  // in the way of the test.
  void admit(const std::function<bool()>& gone);
  void dismiss();
  Result<> wait_until_idle();
  void not_ready(const Error& why);
  void set_state(State state, const std::string& why);

  // Cells as they are kept now, and those that an earlier run, or an earlier hour, has kept without
  // loss.
  struct Banks {
    std::shared_ptr<const CellBank> now, exact;
  };
  Banks banks() const;
  double ratio(const Banks& banks) const;

  // Learning.
  void learn();  // a thread of its own
  Result<> try_to_learn(const Banks& banks);
  bool take_learnt();
  void use_learnt(std::shared_ptr<const codec::Codec> codec, const std::string& how);
  Result<> take_over_exact(const Banks& banks);
  Result<> borrow_slot(const std::function<Result<>(const Laboratory&)>& use);
  std::vector<std::string> tenants() const;
  void note_tenant(const std::string& tenant);
  Progress until_end(const std::string& what);

  // Between slots and the store.
  std::string new_file();
  std::string path_of(const std::string& file) const;
  std::string hot_key(const std::string& tenant) const;
  std::optional<store::TimePoint> remote_until(size_t tokens, size_t there) const;
  Restored restore(Slots::Lease& lease, SlotContent& content, std::span<const int32_t> tokens);
  // The cells that would be restored, and of how many tokens: a hot file's, or the store's.
  struct Source {
    size_t tokens = 0;
    HotFiles::Held hot;  // or
    std::shared_ptr<const CellBank> bank;
    store::Match match;
  };
  Result<Source> best_source(const std::string& tenant, std::span<const int32_t> tokens,
                             size_t there);
  Result<> put_into(Slots::Lease& lease, const std::string& file, size_t least);
  Result<> fill(Slots::Lease& lease, const Source& source, std::span<const int32_t> tokens);
  bool write_out(Slots::Lease& lease, SlotContent& content);  // to a file that waits
  void give_away(Slots::Lease& lease);  // saved; then the server may do with it what it likes
  void keep(const SlotFile& file);
  void take_into_store(const SlotFile& file);

  void work();  // of the keeper
  std::optional<SlotFile> next_file();
  bool save_slot(Clock::time_point rested_since);  // one, if there is one to be saved

  const Options options_;
  const session::Coder coder_;
  store::Store store_;
  TemporaryFolder own_;  // socket and slot files
  std::string slots_folder_;
  std::unique_ptr<Upstream> upstream_;
  std::unique_ptr<Slots> slots_;
  HotFiles hot_;
  Gate gate_;
  mutable Record record_;
  std::atomic<uint64_t> files_made_ = 0;
  const double begun_;
  bool may_sleep_ = false;  // the server

  mutable std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  State state_ = State::starting;
  std::string why_;         // nothing is restored
  bool was_there_ = false;  // the server, with its model
  Result<> outcome_;
  Clock::time_point last_used_;  // when the last request with a prompt ended
  SlotTrial trial_;
  size_t under_way_ = 0;  // requests that the server evaluates
  ServerFacts facts_;
  std::deque<SlotFile> waiting_;
  size_t keeping_ = 0;  // files that are being taken into the store
  bool ending_ = false;
  Banks banks_;
  std::set<std::string> tenants_;  // seen since the start
  std::set<std::string> keys_;     // that the server takes
  std::string learning_;           // what it does now, or how it went

  std::function<void()> give_up_;
  std::unique_ptr<ServerProcess> process_;
  std::thread keeper_;  // tests the server after each start, saves idle slots
  std::thread learner_;
  size_t learn_at_ = 0;  // tokens stored
  std::filesystem::file_time_type codec_seen_ = {};
  std::set<std::string> taken_over_;  // tenants whose exact cells have been coded
};

}  // namespace kvsplice::serve
