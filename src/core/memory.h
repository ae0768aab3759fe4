// Running out of memory is an error like others: what the library's calls return instead of
// throwing.
#pragma once

#include <new>
#include <stdexcept>

#include "kvsplice/result.h"

namespace kvsplice {

// Short enough for a string that needs no memory itself.
inline Error out_of_memory() { return {ErrorKind::memory, "out of memory"}; }

// What `body` returns; error memory if there is none for what it does.
template <class Body>
auto within_memory(const Body& body) -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  } catch (const std::length_error&) {  // more than any vector can hold
    return out_of_memory();
  }
}

}  // namespace kvsplice
