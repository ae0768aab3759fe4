#include "store_folder.h"

#include <cstdlib>

#include "core/errors.h"

namespace kvsplice::app {

namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

}  // namespace

Result<std::string> store_folder(const std::string& given) {
  if (!given.empty()) return given;
  if (const std::string named = variable("KVSPLICE_STORE"); !named.empty()) return named;
  if (const std::string data = variable("XDG_DATA_HOME"); !data.empty()) {
    return data + "/kvsplice/store";
  }
  if (const std::string home = variable("HOME"); !home.empty()) {
    return home + "/.local/share/kvsplice/store";
  }
  return usage_error("name a store (--store): there is no HOME to look for one in");
}

}  // namespace kvsplice::app
