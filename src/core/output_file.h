// A file to be written. It is reserved before the work begins, so that what is wrong is said then;
// it appears under its name, whole, when it is published; until then only a temporary lies beside
// it, which goes with the object. docs/files.md tells users what follows for links, modes, pipes
// and other programs.
#pragma once

#include <memory>
#include <string>

#include "core/descriptor.h"

namespace kvsplice {

// Who may read a new file: all whom the umask lets, or its owner alone, as it holds a conversation.
// A file that is replaced hands its mode on.
enum class Readers { all, owner };

class OutputFile {
 public:
  static Result<OutputFile> reserve(const std::string& path, Readers readers = Readers::all);
  // Of a file that the caller holds open and locked.
  static Result<OutputFile> reserve_over(const std::string& path, const Descriptor& locked);
  OutputFile(OutputFile&&) noexcept;
  OutputFile& operator=(OutputFile&&) noexcept;
  ~OutputFile();

  const std::string& path() const;
  int fd() const;  // the temporary, to read and write at any place
  // A new file gets the mode of this one, which it is a copy of.
  void take_mode_of(int fd);
  // Flushes and takes the name; from then on only flushes, and looks whether the name still leads
  // here.
  Result<> publish();

 private:
  struct Impl;
  explicit OutputFile(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvsplice
