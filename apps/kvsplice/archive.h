// Where the tokens of a context and their cells come from, and where they go: session files.
#pragma once

#include <memory>

#include "live/saved_cache.h"
#include "loaded_coder.h"
#include "run_arguments.h"

namespace kvsplice::app {

class Archive {
 public:
  struct Size {
    size_t cells = 0, waiting = 0;  // tokens that have cells, and those behind that have none yet
    size_t tokens() const { return cells + waiting; }
  };

  virtual ~Archive() = default;
  // Opens a session to go on from. What goes on meanwhile stays as it is.
  virtual Result<Size> open(const std::string& path) = 0;
  // Replaces what is in the context by the session opened; returns its tokens.
  virtual Result<std::vector<host::Token>> fill(host::Context& context) = 0;
  // Looks whether the file can be written, and keeps other programs from it until it is saved, or
  // another file is held.
  virtual Result<> hold(const std::string& path) = 0;
  // Writes the context's cells and its tokens, those that wait included, to the file. What was
  // saved is opened again, unless it went through a pipe, and goes on from then. Returns its size,
  // for people.
  virtual Result<std::string> save_to(const std::string& path, const host::Context& context,
                                      std::span<const host::Token> tokens) = 0;
  // Called behind each evaluation.
  virtual Result<> note(const host::Context& context) = 0;
  // What follows does not go on from any session.
  virtual void forget() = 0;
};

// Of llama.cpp's own caches: session.kvz. The arguments and the coder have to outlive it.
std::unique_ptr<Archive> session_archive(const RunArguments& a, const LoadedCoder& loaded);

// Of live caches: files of their own (src/live/saved_cache.h). The form has to outlive it.
std::unique_ptr<Archive> live_archive(const live::LiveForm& form, const live::LiveOptions& options);
// Error usage if the file is of the other of the two.
Result<> check_kind(const std::string& path, bool live);
// "4096 tokens in 15.1 MB, 6.20 times smaller than f16".
std::string describe_size(const live::SavedCache& saved);

}  // namespace kvsplice::app
