// Places for what is needed for a while: a folder of this object's own, which only its user may
// read and which goes with it, and files without a name. If nothing else is said they are among the
// system's temporary files ($TMPDIR).
#pragma once

#include <filesystem>
#include <string>

#include "core/descriptor.h"

namespace kvsplice {

class TemporaryFolder {
 public:
  // Folders of that purpose that killed programs of this user have left are removed first.
  static Result<TemporaryFolder> create(const std::string& purpose,
                                        const std::filesystem::path& where = {});
  TemporaryFolder(TemporaryFolder&& other) noexcept;
  TemporaryFolder& operator=(TemporaryFolder&& other) noexcept;
  ~TemporaryFolder();
  std::string path() const { return path_.string(); }
  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  TemporaryFolder(std::filesystem::path path, Descriptor mark)
      : path_(std::move(path)), mark_(std::move(mark)) {}

  std::filesystem::path path_;
  Descriptor mark_;  // a file in the folder, locked for as long as it is in use
};

// To write and read again; it has no name and goes when it is closed.
Result<Descriptor> unnamed_file();

}  // namespace kvsplice
