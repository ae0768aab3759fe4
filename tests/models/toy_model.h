// Toy models of any architecture that llama.cpp builds: it is given a model's metadata, says which
// tensors the architecture has, and those are filled from a seed and written to a file.
#pragma once

#include <fmt/format.h>
#include <gguf.h>
#include <llama.h>

#include <memory>
#include <set>

#include "host/log.h"
#include "toys.h"

namespace kvsplice::testing {

class ToyModel {
 public:
  static Result<> write(const Toy& toy, const std::string& path) {
    ToyModel model(toy);
    KVS_TRY(model.ask_for_tensors(path));
    put_file(path, model.file_.bytes());
    return {};
  }

 private:
  explicit ToyModel(const Toy& toy) : architecture_(toy.architecture) {
    file_.set_text("general.architecture", toy.architecture);
    file_.set_text("general.name", "toy");
    for (const auto& [name, key] : toy.keys) {
      set(name.starts_with('/') ? name.substr(1) : toy.architecture + "." + name, key);
    }
    add_plain_vocabulary(file_);
  }

  void set(const std::string& name, const Key& key) {
    if (key.truth) {
      file_.set_bool(name, *key.truth);
    } else if (key.number) {
      file_.set(name, *key.number);
    } else if (key.integers.size() == 1) {
      file_.set(name, uint32_t(key.integers[0]));
    } else {
      file_.set_integers(name, key.integers);
    }
  }

  Result<> ask_for_tensors(const std::string& path) {
    put_file(path, file_.bytes());
    const std::unique_ptr<gguf_context, decltype(&gguf_free)> metadata(
        gguf_init_from_file(path.c_str(), {true, nullptr}), gguf_free);
    host::listen_to_log();
    llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = 0;
    const std::unique_ptr<llama_model, decltype(&llama_model_free)> model(
        llama_model_init_from_user(metadata.get(), &ToyModel::fill, this, params),
        llama_model_free);
    if (model) return {};
    return Error{ErrorKind::unsupported, host::first_log_error("llama.cpp says no reason")};
  }

  static void fill(ggml_tensor* tensor, void* self) { static_cast<ToyModel*>(self)->fill(*tensor); }
  void fill(ggml_tensor& tensor) {
    const std::string name = tensor.name;
    std::vector<float> values = values_of(name, tensor);
    if (tensor.type == GGML_TYPE_F32) {
      ggml_backend_tensor_set(&tensor, values.data(), 0, ggml_nbytes(&tensor));
    }
    const bool is_new = known_.insert(name).second;
    if (!is_new || is_left_out(name)) return;
    std::vector<uint64_t> dims;
    for (int i = 0; i < ggml_n_dims(&tensor); ++i) dims.push_back(uint64_t(tensor.ne[i]));
    file_.add_tensor(name, dims, values);
  }

  // Factors of quantised weights, which files of other types do not have.
  static bool is_left_out(const std::string& name) {
    return name.ends_with(".input_scale") ||
           (name.ends_with(".scale") && name.find("ffn_gate_inp.") == name.npos);
  }

  // As large as keeps the size of what passes through.
  std::vector<float> values_of(const std::string& name, const ggml_tensor& tensor) const {
    Random random(hash64({reinterpret_cast<const uint8_t*>(name.data()), name.size()}));
    const bool matrix = ggml_n_dims(&tensor) > 1;
    const auto has = [&](const char* part) { return name.find(part) != name.npos; };
    const bool norm = !matrix && has("norm") && name.ends_with(".weight");
    double mean = norm ? 1 : 0, size = matrix ? 1 / std::sqrt(double(tensor.ne[0])) : 0.1;
    if (name == "token_embd.weight") size = 1;
    if (architecture_ == "gemma4" && has("attn_q_norm")) {  // it scales queries in no other place
      mean = 0.2, size = 0.02;
    }
    std::vector<float> values(size_t(ggml_nelements(&tensor)));
    for (float& v : values) v = float(mean + size * random.normal());
    if (has("ssm_a")) {  // states decay
      for (float& v : values) v = -std::abs(v) - 0.1f;
    }
    return values;
  }

  std::string architecture_;
  GgufEmitter file_;
  std::set<std::string> known_;
};

}  // namespace kvsplice::testing
