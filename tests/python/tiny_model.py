"""Models of random numbers and 1 MB, to have a codec of any pipeline in seconds."""

import gguf
import numpy as np

HEADS, KV_HEADS, DIM, WIDE, LAYERS = 4, 2, 32, 64, 6


class TinyModel:
    """architecture: llama, or gemma3, where layers have a window of 8 tokens but every third one."""

    def __init__(self, path, architecture):
        self.random = np.random.default_rng(1)
        self.windows = architecture == "gemma3"
        self.file = gguf.GGUFWriter(path, architecture)
        self.parameters()
        self.tensors(self.vocabulary())
        self.file.write_header_to_file()
        self.file.write_kv_data_to_file()
        self.file.write_tensors_to_file()
        self.file.close()

    def parameters(self):
        file = self.file
        file.add_context_length(2048)
        file.add_embedding_length(HEADS * DIM)
        file.add_block_count(LAYERS)
        file.add_feed_forward_length(WIDE)
        file.add_head_count(HEADS)
        self.kv_heads()
        file.add_key_length(DIM)
        file.add_value_length(DIM)
        file.add_layer_norm_rms_eps(1e-5)
        file.add_rope_freq_base(10000.0)
        file.add_rope_dimension_count(DIM)
        if self.windows:
            file.add_sliding_window(8)
            file.add_uint32("gemma3.attention.sliding_window_pattern", 3)

    def kv_heads(self):
        self.file.add_head_count_kv(KV_HEADS)

    def vocabulary(self):
        """Three special tokens, the bytes and a blank; returns their number."""
        tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)] + ["\u2581"]
        file = self.file
        file.add_tokenizer_model("llama")
        file.add_token_list(tokens)
        file.add_token_scores([-1.0] * len(tokens))
        file.add_token_types([2, 3, 3] + [6] * 256 + [1])
        file.add_bos_token_id(1)
        file.add_eos_token_id(2)
        file.add_unk_token_id(0)
        return len(tokens)

    def matrix(self, name, inputs, outputs, scale=None):
        scale = inputs ** -0.5 if scale is None else scale
        self.file.add_tensor(name + ".weight", np.float32(
            scale * self.random.standard_normal((outputs, inputs))))

    def norm(self, name, n):
        self.file.add_tensor(name + ".weight", np.float32(1 + 0.1 * self.random.standard_normal(n)))

    def tensors(self, words):
        d = HEADS * DIM
        self.matrix("token_embd", d, words, 1)
        self.norm("output_norm", d)
        self.matrix("output", d, words)
        for i in range(LAYERS):
            name = lambda part: f"blk.{i}.{part}"
            self.norm(name("attn_norm"), d)
            self.matrix(name("attn_q"), d, d)
            self.matrix(name("attn_k"), d, KV_HEADS * DIM)
            self.matrix(name("attn_v"), d, KV_HEADS * DIM)
            self.matrix(name("attn_output"), d, d)
            self.norm(name("ffn_norm"), d)
            if self.windows:
                self.norm(name("attn_q_norm"), DIM)
                self.norm(name("attn_k_norm"), DIM)
                self.norm(name("post_attention_norm"), d)
                self.norm(name("post_ffw_norm"), d)
            self.matrix(name("ffn_gate"), d, WIDE)
            self.matrix(name("ffn_up"), d, WIDE)
            self.matrix(name("ffn_down"), WIDE, d)


class HybridModel(TinyModel):
    """jamba, whose layers 2 and 5 attend, while the others are recurrent."""

    CONV, STATE, RANK = 4, 16, 4

    def __init__(self, path):
        super().__init__(path, "jamba")

    def kv_heads(self):
        self.file.add_head_count_kv([KV_HEADS if i % 3 == 2 else 0 for i in range(LAYERS)])

    def parameters(self):
        super().parameters()
        self.file.add_ssm_conv_kernel(self.CONV)
        self.file.add_ssm_inner_size(2 * HEADS * DIM)
        self.file.add_ssm_state_size(self.STATE)
        self.file.add_ssm_time_step_rank(self.RANK)

    def tensors(self, words):
        d, inner = HEADS * DIM, 2 * HEADS * DIM
        around = lambda name, mean, *dims: self.file.add_tensor(name, np.float32(
            mean + 0.1 * self.random.standard_normal(dims)))
        self.matrix("token_embd", d, words, 1)
        self.norm("output_norm", d)
        for i in range(LAYERS):
            name = lambda part: f"blk.{i}.{part}"
            self.norm(name("attn_norm"), d)
            if i % 3 == 2:
                for part, width in (("q", d), ("k", KV_HEADS * DIM), ("v", KV_HEADS * DIM),
                                    ("output", d)):
                    self.matrix(name(f"attn_{part}"), d, width)
            else:
                self.matrix(name("ssm_in"), d, 2 * inner)
                self.matrix(name("ssm_conv1d"), self.CONV, inner)
                around(name("ssm_conv1d.bias"), 0, inner)
                self.matrix(name("ssm_x"), inner, self.RANK + 2 * self.STATE)
                for part, n in (("dt", self.RANK), ("b", self.STATE), ("c", self.STATE)):
                    self.norm(name(f"ssm_{part}_norm"), n)
                self.matrix(name("ssm_dt"), self.RANK, inner)
                around(name("ssm_dt.bias"), 0, inner)
                around(name("ssm_a"), -1, inner, self.STATE)
                around(name("ssm_d"), 1, inner)
                self.matrix(name("ssm_out"), inner, d)
            self.norm(name("ffn_norm"), d)
            self.matrix(name("ffn_gate"), d, WIDE)
            self.matrix(name("ffn_up"), d, WIDE)
            self.matrix(name("ffn_down"), WIDE, d)
