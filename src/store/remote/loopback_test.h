// A server on loopback that does with a connection what a test says.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/descriptor.h"
#include "store/hash.h"

namespace kvsplice::store {

// One end of a connection.
class Talk {
 public:
  explicit Talk(int fd) : fd_(fd) {}
  // What comes next; empty at the end.
  std::string hear() const {
    char bytes[4096];
    const ssize_t n = ::recv(fd_, bytes, sizeof bytes, 0);
    return {bytes, static_cast<size_t>(std::max<ssize_t>(n, 0))};
  }
  bool say(const std::string& text) const {
    return ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == ssize_t(text.size());
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

class Loopback {
 public:
  explicit Loopback(std::function<void(const Talk&)> serve)
      : serve_(std::move(serve)), listening_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    auto* address = reinterpret_cast<sockaddr*>(&at);
    EXPECT_EQ(::bind(listening_.get(), address, size), 0);
    EXPECT_EQ(::listen(listening_.get(), 16), 0);
    EXPECT_EQ(::getsockname(listening_.get(), address, &size), 0);
    port_ = ntohs(at.sin_port);
    accepting_ = std::thread([this] { accept_all(); });
  }
  ~Loopback() {
    ending_ = true;
    ::shutdown(listening_.get(), SHUT_RDWR);
    accepting_.join();
    for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
    for (std::thread& thread : threads_) thread.join();
    for (const int fd : open_) ::close(fd);
  }

  std::string authority() const { return "127.0.0.1:" + std::to_string(port_); }
  int connections() const { return connections_; }

 private:
  void accept_all() {
    for (;;) {
      const int fd = ::accept(listening_.get(), nullptr, nullptr);
      if (fd < 0 || ending_) {
        if (fd >= 0) ::close(fd);
        return;
      }
      ++connections_;
      open_.push_back(fd);
      threads_.emplace_back([this, fd] {
        serve_(Talk(fd));
        ::shutdown(fd, SHUT_RDWR);
      });
    }
  }

  std::function<void(const Talk&)> serve_;
  Descriptor listening_;
  int port_ = 0;
  std::atomic<bool> ending_ = false;
  std::atomic<int> connections_ = 0;
  std::thread accepting_;
  // Of the thread that accepts, until it has ended.
  std::vector<int> open_;
  std::vector<std::thread> threads_;
};

// A name, and bytes to store under it.
inline Hash named(const std::string& text) {
  return Hash::of({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}
inline Bytes value(size_t size, uint8_t first = 0) {
  Bytes bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(first + 7 * i);
  return bytes;
}

}  // namespace kvsplice::store
