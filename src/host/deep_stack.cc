#include "host/deep_stack.h"

#include <fmt/format.h>
#include <pthread.h>

#include <cstring>

namespace kvsplice::host {

Result<> on_deep_stack(size_t bytes, const std::function<void()>& work) {
  const auto call = [](void* what) -> void* {
    (*static_cast<const std::function<void()>*>(what))();
    return nullptr;
  };
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_t thread;
  int failed = pthread_attr_setstacksize(&attributes, bytes);
  if (failed == 0) {
    failed = pthread_create(&thread, &attributes, call, const_cast<std::function<void()>*>(&work));
  }
  pthread_attr_destroy(&attributes);
  if (failed != 0) {
    return Error{ErrorKind::io, fmt::format("no thread with a stack of {:.0f} MB: {}",
                                            double(bytes) / 1e6, std::strerror(failed))};
  }
  pthread_join(thread, nullptr);
  return {};
}

}  // namespace kvsplice::host
