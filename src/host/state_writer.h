// Bytes of a state, written into zeros that are there, so that rows without data need no writing.
#pragma once

#include <cstring>
#include <span>

#include "core/bytes.h"

namespace kvsplice::host {

class StateWriter {
 public:
  explicit StateWriter(std::span<uint8_t> room) : room_(room) {}

  template <class T>
  void put(T value) {
    put_array(std::span<const T>(&value, 1));
  }
  template <class T>
  void put_array(std::span<const T> values) {
    if (!values.empty()) std::memcpy(room_.data() + at_, values.data(), values.size_bytes());
    at_ += values.size_bytes();
  }
  void leave_zeros(size_t n) { at_ += n; }
  size_t size() const { return at_; }

 private:
  std::span<uint8_t> room_;
  size_t at_ = 0;
};

}  // namespace kvsplice::host
