// Trainings and what is measured of their models, each done once and kept.
#pragma once

#include <map>

#include "experiments/journal.h"
#include "experiments/train/ground.h"

namespace kvsplice::experiment::train {

struct Training {
  std::string variant;
  int seed = 0;
  size_t parameters = 0, tokens = 0;
  double loss = 0;  // of the last tenth, nats a token
  double seconds = 0;
};

// A model judged on a text by its own forward pass, its cache stored in some way.
struct Point {
  std::string variant;
  int seed = 0;
  std::string text, store;
  double bytes_per_token = 0, nats_per_byte = 0;
};

// An exported model in the loop of llama.cpp.
struct Looped {
  std::string variant;
  int seed = 0;
  std::string text, cache;
  double bytes_per_token = 0, nats_per_token = 0, kld = 0;
  double own_nats_per_token = 0;  // of the same tokens by our forward pass; f16 only
};

template <class R, class F>
void visit_run(R& r, F&& f) {
  f("variant", r.variant), f("seed", r.seed);
  if constexpr (requires { r.parameters; }) {
    f("parameters", r.parameters), f("tokens", r.tokens), f("loss", r.loss);
    f("seconds", r.seconds);
  } else if constexpr (requires { r.store; }) {
    f("text", r.text), f("store", r.store);
    f("bytes_per_token", r.bytes_per_token), f("nats_per_byte", r.nats_per_byte);
  } else {
    f("text", r.text), f("cache", r.cache), f("bytes_per_token", r.bytes_per_token);
    f("nats_per_token", r.nats_per_token), f("kld", r.kld);
    f("own_nats_per_token", r.own_nats_per_token);
  }
}
template <class F>
void visit_fields(const Training& r, F&& f) {
  visit_run(r, f);
}
template <class F>
void visit_fields(Training& r, F&& f) {
  visit_run(r, f);
}
template <class F>
void visit_fields(const Point& r, F&& f) {
  visit_run(r, f);
}
template <class F>
void visit_fields(Point& r, F&& f) {
  visit_run(r, f);
}
template <class F>
void visit_fields(const Looped& r, F&& f) {
  visit_run(r, f);
}
template <class F>
void visit_fields(Looped& r, F&& f) {
  visit_run(r, f);
}

struct Measurements {
  std::vector<Training> trainings;
  std::vector<Point> points;
  std::vector<Looped> looped;
};

// Everything: trains what is not yet trained, judges what is not yet judged.
Result<Measurements> measure_all(const Ground& ground);

}  // namespace kvsplice::experiment::train
