// llama-server as a child of ours: started, watched, started again when it dies, ended with us.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "kvsplice/result.h"

namespace kvsplice::serve {

class ServerProcess {
 public:
  struct End {
    std::string how;
    bool by_itself = false;  // not by a signal
  };
  // arguments: the program first. `before` is called before each start, `began` after it, `ended`
  // when it has died without our asking, and says whether to start it again; all on a thread of
  // this object.
  struct Events {
    std::function<void()> before;
    std::function<void(int start)> began;
    std::function<bool(const End& end)> ended;
  };
  ServerProcess(std::vector<std::string> arguments, Events events);
  ~ServerProcess();  // asks it to end, and makes it after ten seconds
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  // Error io if the program cannot be started.
  Result<> start();
  pid_t pid() const { return pid_; }
  int starts() const { return starts_; }

 private:
  Result<> spawn();
  void watch();

  std::vector<std::string> arguments_;
  Events events_;
  std::atomic<pid_t> pid_ = -1;
  std::atomic<int> starts_ = 0;
  std::atomic<bool> ending_ = false;
  std::thread watcher_;
};

}  // namespace kvsplice::serve
