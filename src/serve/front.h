// HTTP towards clients: our own pages below /kvsplice/, everything else through the service.
#pragma once

#include <memory>
#include <string>

#include "serve/service.h"

namespace kvsplice::serve {

class Front {
 public:
  explicit Front(Service& service);
  ~Front();

  // Error io if nobody may listen there, or somebody does. port 0: any; returns the port.
  Result<int> listen(const std::string& host, int port);
  // Answers until stop() is called, from another thread or a signal.
  void run();
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvsplice::serve
