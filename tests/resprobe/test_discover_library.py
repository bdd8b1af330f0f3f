"""Block counts of the implementations in `transformers`, tiny and with random weights.

The counts are worked out from each architecture's description; `layers` is 2 everywhere unless a
case says otherwise, so a transformer with attention and MLP has 4 blocks.
"""

import pytest
import torch

from resprobe import find_blocks

transformers = pytest.importorskip("transformers")

WORDS = torch.tensor([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]])
PADDING = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])
IDS = {"input_ids": WORDS, "attention_mask": PADDING}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
BERT_LIKE = {
    "vocab_size": 32,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 32,
}
LLAMA_LIKE = {
    **BERT_LIKE,
    **SPECIAL,
    "hidden_size": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
}
VIT_LIKE = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 16,
    "patch_size": 8,
}


def pixels(size):
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    return {"pixel_values": image}


def waves(length=800):
    return {"input_values": torch.randn(1, length, generator=torch.Generator().manual_seed(0))}


# class, config class, config, inputs, blocks, activation (None: not asked), scale (None: not asked)
CASES = {
    # causal language models: attention + MLP
    "GPT-2": (
        "GPT2Model",
        "GPT2Config",
        {"vocab_size": 32, "n_positions": 32, "n_embd": 8, "n_layer": 2, "n_head": 2, **SPECIAL},
        IDS,
        4,
        "pre",
        1.0,
    ),
    "Llama": ("LlamaModel", "LlamaConfig", LLAMA_LIKE, IDS, 4, "pre", 1.0),
    "Mistral": ("MistralModel", "MistralConfig", LLAMA_LIKE, IDS, 4, "pre", 1.0),
    # each branch also ends in an RMS norm, before the addition
    "Gemma 2": ("Gemma2Model", "Gemma2Config", LLAMA_LIKE, IDS, 4, "pre", None),
    "Gemma 3": ("Gemma3TextModel", "Gemma3TextConfig", LLAMA_LIKE, IDS, 4, "pre", None),
    # the mixture of experts is one branch
    "Mixtral": (
        "MixtralModel",
        "MixtralConfig",
        {**LLAMA_LIKE, "num_local_experts": 3, "num_experts_per_tok": 2},
        IDS,
        4,
        "pre",
        None,
    ),
    # attention and MLP of one x added at once: one a layer
    "GPT-NeoX": ("GPTNeoXModel", "GPTNeoXConfig", BERT_LIKE, IDS, 2, "pre", 1.0),
    "GPT-NeoX in sequence": (
        "GPTNeoXModel",
        "GPTNeoXConfig",
        {**BERT_LIKE, "use_parallel_residual": False},
        IDS,
        4,
        "pre",
        1.0,
    ),
    "GPT-J": (
        "GPTJModel",
        "GPTJConfig",
        {
            "vocab_size": 32,
            "n_positions": 32,
            "n_embd": 16,
            "n_layer": 2,
            "n_head": 2,
            "rotary_dim": 4,
            **SPECIAL,
        },
        IDS,
        2,
        "pre",
        1.0,
    ),
    "Falcon": (
        "FalconModel",
        "FalconConfig",
        {**BERT_LIKE, "parallel_attn": True, "multi_query": True, **SPECIAL},
        IDS,
        2,
        "pre",
        1.0,
    ),
    "Phi": ("PhiModel", "PhiConfig", {**BERT_LIKE, **SPECIAL}, IDS, 2, "pre", 1.0),
    "OPT": (
        "OPTModel",
        "OPTConfig",
        {
            "vocab_size": 32,
            "hidden_size": 8,
            "num_hidden_layers": 2,
            "ffn_dim": 16,
            "num_attention_heads": 2,
            "max_position_embeddings": 32,
            "word_embed_proj_dim": 8,
            **SPECIAL,
        },
        IDS,
        4,
        "pre",
        1.0,
    ),
    "BLOOM": (
        "BloomModel",
        "BloomConfig",
        {"vocab_size": 32, "hidden_size": 8, "n_layer": 2, "n_head": 2, **SPECIAL},
        IDS,
        4,
        "pre",
        1.0,
    ),
    # encoders with the norm after the addition
    "BERT": ("BertModel", "BertConfig", BERT_LIKE, IDS, 4, "post", 1.0),
    "RoBERTa": (
        "RobertaModel",
        "RobertaConfig",
        {**BERT_LIKE, "type_vocab_size": 1, **SPECIAL},
        IDS,
        4,
        "post",
        1.0,
    ),
    "DistilBERT": (
        "DistilBertModel",
        "DistilBertConfig",
        {
            "vocab_size": 32,
            "dim": 8,
            "n_layers": 2,
            "n_heads": 2,
            "hidden_dim": 16,
            "max_position_embeddings": 32,
        },
        IDS,
        4,
        "post",
        1.0,
    ),
    # one layer's weights used twice
    "ALBERT": (
        "AlbertModel",
        "AlbertConfig",
        {**BERT_LIKE, "embedding_size": 4, **SPECIAL},
        IDS,
        4,
        "post",
        1.0,
    ),
    # content-to-position and position-to-content scores are sums too, but of scores
    "DeBERTa-v2": (
        "DebertaV2Model",
        "DebertaV2Config",
        {
            **BERT_LIKE,
            "type_vocab_size": 0,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
        },
        IDS,
        4,
        "post",
        1.0,
    ),
    # a layer: attention, 3 + 1 feed-forwards, and the bottleneck's way out around all of them
    "MobileBERT": (
        "MobileBertModel",
        "MobileBertConfig",
        {
            **BERT_LIKE,
            "embedding_size": 8,
            "intra_bottleneck_size": 4,
            "num_feedforward_networks": 4,
        },
        IDS,
        12,
        None,
        None,
    ),
    # the Fourier transform has no parameters, so only the feed-forwards are blocks
    "FNet": (
        "FNetModel",
        "FNetConfig",
        {
            "vocab_size": 32,
            "hidden_size": 8,
            "num_hidden_layers": 2,
            "intermediate_size": 16,
            "max_position_embeddings": 32,
        },
        {"input_ids": WORDS},
        2,
        "post",
        1.0,
    ),
    "Cohere": ("CohereModel", "CohereConfig", LLAMA_LIKE, IDS, 2, "pre", 1.0),
    "GPT-Neo": (
        "GPTNeoModel",
        "GPTNeoConfig",
        {
            "vocab_size": 32,
            "hidden_size": 8,
            "num_layers": 2,
            "num_heads": 2,
            "attention_types": [[["global", "local"], 1]],
            "max_position_embeddings": 32,
            "window_size": 4,
            **SPECIAL,
        },
        IDS,
        4,
        "pre",
        1.0,
    ),
    # each branch is multiplied by a number of the configuration
    "Granite": (
        "GraniteModel",
        "GraniteConfig",
        {**LLAMA_LIKE, "residual_multiplier": 0.22},
        IDS,
        4,
        "pre",
        0.22,
    ),
    # the branch ends in its norm
    "OLMo 2": ("Olmo2Model", "Olmo2Config", LLAMA_LIKE, IDS, 4, "pre", None),
    # a shared expert, gated, is added to the chosen ones inside the branch
    "Qwen2-MoE": (
        "Qwen2MoeModel",
        "Qwen2MoeConfig",
        {
            **LLAMA_LIKE,
            "num_experts": 3,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 8,
            "shared_expert_intermediate_size": 8,
        },
        IDS,
        4,
        "pre",
        1.0,
    ),
    # three layers (recurrent, recurrent, attention), each with an MLP
    "RecurrentGemma": (
        "RecurrentGemmaModel",
        "RecurrentGemmaConfig",
        {**LLAMA_LIKE, "num_hidden_layers": 3, "lru_width": 16, "attention_window_size": 8},
        IDS,
        6,
        "pre",
        1.0,
    ),
    # time mixing and channel mixing; the shifted means and the recurrence are sums inside them
    "RWKV": (
        "RwkvModel",
        "RwkvConfig",
        {
            "vocab_size": 32,
            "hidden_size": 8,
            "attention_hidden_size": 8,
            "num_hidden_layers": 2,
            "intermediate_size": 16,
            **SPECIAL,
        },
        {"input_ids": WORDS},
        4,
        "pre",
        1.0,
    ),
    "ModernBERT": (
        "ModernBertModel",
        "ModernBertConfig",
        {**BERT_LIKE, **SPECIAL, "cls_token_id": 1, "sep_token_id": 2},
        IDS,
        4,
        "pre",
        1.0,
    ),
    "MPNet": ("MPNetModel", "MPNetConfig", BERT_LIKE, IDS, 4, "post", 1.0),
    "XLNet": (
        "XLNetModel",
        "XLNetConfig",
        {"vocab_size": 32, "d_model": 8, "n_layer": 2, "n_head": 2, "d_inner": 16, **SPECIAL},
        IDS,
        4,
        "post",
        1.0,
    ),
    # a depthwise convolution of the values is added to the attention, inside the branch
    "Nystromformer": (
        "NystromformerModel",
        "NystromformerConfig",
        {**BERT_LIKE, "num_landmarks": 3, "segment_means_seq_len": 6, "conv_kernel_size": 3},
        {"input_ids": WORDS},
        4,
        "post",
        1.0,
    ),
    # encoder layer 2, decoder layer 3 (own attention, cross attention, feed-forward)
    "T5": (
        "T5Model",
        "T5Config",
        {
            "vocab_size": 32,
            "d_model": 8,
            "d_kv": 4,
            "d_ff": 16,
            "num_layers": 2,
            "num_heads": 2,
            "pad_token_id": 0,
            "eos_token_id": 2,
        },
        {**IDS, "decoder_input_ids": WORDS},
        10,
        "pre",
        1.0,
    ),
    "BART": (
        "BartModel",
        "BartConfig",
        {
            "vocab_size": 32,
            "d_model": 8,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 16,
            "decoder_ffn_dim": 16,
            "max_position_embeddings": 32,
        },
        IDS,
        10,
        "post",
        1.0,
    ),
    "Whisper": (
        "WhisperModel",
        "WhisperConfig",
        {
            "vocab_size": 32,
            "num_mel_bins": 4,
            "d_model": 8,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 16,
            "decoder_ffn_dim": 16,
            "max_source_positions": 10,
            "max_target_positions": 32,
            "decoder_start_token_id": 1,
            **SPECIAL,
        },
        {"input_features": torch.ones(1, 4, 20), "decoder_input_ids": WORDS[:1]},
        10,
        "pre",
        1.0,
    ),
    # x + GELU(conv(x)), called a positional embedding, has the form of a block: 1 + 2·2
    "Wav2Vec2": (
        "Wav2Vec2Model",
        "Wav2Vec2Config",
        {
            **BERT_LIKE,
            "conv_dim": (8, 8),
            "conv_stride": (5, 4),
            "conv_kernel": (10, 4),
            "num_feat_extract_layers": 2,
            "num_conv_pos_embeddings": 4,
            "num_conv_pos_embedding_groups": 2,
        },
        waves(),
        5,
        "post",
        1.0,
    ),
    # text 2·2 and vision 2·2
    "CLIP": (
        "CLIPModel",
        "CLIPConfig",
        {
            "text_config": {**BERT_LIKE, **SPECIAL},
            "vision_config": VIT_LIKE,
            "projection_dim": 8,
        },
        {"input_ids": WORDS[:1], **pixels(16)},
        8,
        "pre",
        1.0,
    ),
    # one addition a layer; inside it D·u is added to the scan of u, which S4 calls a skip
    # connection as well, but it is a term of the state space model
    "Mamba": (
        "MambaModel",
        "MambaConfig",
        {"vocab_size": 32, "hidden_size": 8, "state_size": 2, "num_hidden_layers": 2, **SPECIAL},
        {"input_ids": WORDS},
        2,
        "pre",
        1.0,
    ),
    # the learned latents read, the MLP, and 2·2
    "Perceiver": (
        "PerceiverModel",
        "PerceiverConfig",
        {
            "num_latents": 4,
            "d_latents": 8,
            "d_model": 8,
            "num_blocks": 1,
            "num_self_attends_per_block": 2,
            "num_self_attention_heads": 2,
            "num_cross_attention_heads": 2,
        },
        {"inputs": torch.ones(1, 6, 8)},
        6,
        "pre",
        1.0,
    ),
    # vision transformers
    "ViT": ("ViTModel", "ViTConfig", VIT_LIKE, pixels(16), 4, "pre", 1.0),
    "DeiT": ("DeiTModel", "DeiTConfig", VIT_LIKE, pixels(16), 4, "pre", 1.0),
    "BEiT": (
        "BeitModel",
        "BeitConfig",
        {
            **VIT_LIKE,
            "layer_scale_init_value": 0.1,
            "use_relative_position_bias": True,
            "out_indices": [1],
        },
        pixels(16),
        4,
        "pre",
        0.1,
    ),
    "DINOv2": (
        "Dinov2Model",
        "Dinov2Config",
        {**VIT_LIKE, "layerscale_value": 0.5},
        pixels(16),
        4,
        "pre",
        0.5,
    ),
    "YOLOS": (
        "YolosModel",
        "YolosConfig",
        {**VIT_LIKE, "image_size": [16, 16], "num_detection_tokens": 2},
        pixels(16),
        4,
        "pre",
        1.0,
    ),
    # two stages of two layers of two
    "Swin": (
        "SwinModel",
        "SwinConfig",
        {
            "image_size": 32,
            "patch_size": 4,
            "embed_dim": 8,
            "depths": [2, 2],
            "num_heads": [2, 2],
            "window_size": 2,
        },
        pixels(32),
        8,
        "pre",
        1.0,
    ),
    # the norm ends the branch (res-post-norm), so nothing follows the addition
    "Swin V2": (
        "Swinv2Model",
        "Swinv2Config",
        {
            "image_size": 32,
            "patch_size": 4,
            "embed_dim": 8,
            "depths": [2, 2],
            "num_heads": [2, 2],
            "window_size": 2,
        },
        pixels(32),
        8,
        "pre",
        None,
    ),
    # two a layer, two stages of one layer
    "SegFormer": (
        "SegformerModel",
        "SegformerConfig",
        {
            "num_encoder_blocks": 2,
            "depths": [1, 1],
            "sr_ratios": [2, 1],
            "hidden_sizes": [8, 8],
            "patch_sizes": [3, 3],
            "strides": [4, 2],
            "num_attention_heads": [1, 2],
            "mlp_ratios": [2, 2],
        },
        pixels(32),
        4,
        "pre",
        1.0,
    ),
    "PoolFormer": (
        "PoolFormerModel",
        "PoolFormerConfig",
        {
            "depths": [1, 2],
            "hidden_sizes": [4, 8],
            "num_encoder_blocks": 2,
            "patch_sizes": [7, 3],
            "strides": [4, 2],
            "padding": [2, 1],
            "layer_scale_init_value": 0.01,
        },
        pixels(32),
        6,
        "pre",
        0.01,
    ),
    "VideoMAE": (
        "VideoMAEModel",
        "VideoMAEConfig",
        {**VIT_LIKE, "num_frames": 2},
        {"pixel_values": torch.ones(1, 2, 3, 16, 16)},
        4,
        "pre",
        1.0,
    ),
    # stages of one and two layers of two; the second stage begins with a projected, pooled skip
    "Hiera": (
        "HieraModel",
        "HieraConfig",
        {
            "image_size": [64, 64],
            "embed_dim": 8,
            "depths": [1, 2],
            "num_heads": [1, 2],
            "num_query_pool": 1,
            "masked_unit_size": [4, 4],
            "masked_unit_attention": [True, False],
        },
        pixels(64),
        6,
        "pre",
        1.0,
    ),
    # sums of gated contexts are inside the first branch of a layer
    "FocalNet": (
        "FocalNetModel",
        "FocalNetConfig",
        {
            "image_size": 32,
            "patch_size": 4,
            "embed_dim": 8,
            "hidden_sizes": [8, 16],
            "depths": [1, 1],
            "focal_levels": [2, 2],
            "focal_windows": [3, 3],
        },
        pixels(32),
        4,
        "pre",
        1.0,
    ),
    "PVT": (
        "PvtModel",
        "PvtConfig",
        {
            "image_size": 32,
            "num_encoder_blocks": 2,
            "depths": [1, 1],
            "sequence_reduction_ratios": [2, 1],
            "hidden_sizes": [8, 8],
            "patch_sizes": [4, 2],
            "strides": [4, 2],
            "num_attention_heads": [1, 2],
            "mlp_ratios": [2, 2],
        },
        pixels(32),
        4,
        "pre",
        1.0,
    ),
    # 2 inverted residuals at stride 1 and equal width, transformers of 2, 4 and 3 layers
    "MobileViT": ("MobileViTModel", "MobileViTConfig", {}, pixels(64), 20, "pre", 1.0),
    # pre-activation, standardised weights
    "BiT": (
        "BitModel",
        "BitConfig",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2], "num_groups": 2},
        pixels(32),
        3,
        "pre",
        1.0,
    ),
    # convolutional: one block a unit
    "ConvNeXt": (
        "ConvNextModel",
        "ConvNextConfig",
        {"num_stages": 2, "hidden_sizes": [4, 8], "depths": [1, 2], "layer_scale_init_value": 0.1},
        pixels(32),
        3,
        "pre",
        0.1,
    ),
    # its response norm is γ·x·N(x) + β + x, which is a norm and no block
    "ConvNeXt V2": (
        "ConvNextV2Model",
        "ConvNextV2Config",
        {"num_stages": 2, "hidden_sizes": [4, 8], "depths": [1, 2]},
        pixels(32),
        3,
        "pre",
        1.0,
    ),
    "ResNet": (
        "ResNetModel",
        "ResNetConfig",
        {"embedding_size": 4, "hidden_sizes": [8, 16], "depths": [2, 3]},
        pixels(32),
        5,
        "post",
        1.0,
    ),
    "ResNet of basic blocks": (
        "ResNetModel",
        "ResNetConfig",
        {
            "embedding_size": 4,
            "hidden_sizes": [4, 8],
            "depths": [2, 2],
            "layer_type": "basic",
        },
        pixels(32),
        4,
        "post",
        1.0,
    ),
    "RegNet": (
        "RegNetModel",
        "RegNetConfig",
        {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 2], "groups_width": 4},
        pixels(32),
        3,
        "post",
        1.0,
    ),
    # Σ(n - 1) = 1 + 2 + 3 + 2 + 2, as in the paper's table 2
    "MobileNetV2": (
        "MobileNetV2Model",
        "MobileNetV2Config",
        {"depth_multiplier": 0.25},
        pixels(32),
        10,
        "pre",
        1.0,
    ),
    # Σ(n - 1) = 1 + 1 + 2 + 2 + 3, the repeats of B0
    "EfficientNet": (
        "EfficientNetModel",
        "EfficientNetConfig",
        {"width_coefficient": 0.25, "depth_coefficient": 1.0, "hidden_dim": 320},
        pixels(32),
        9,
        "pre",
        1.0,
    ),
}
# where the kinds of skip are plain from the paper: bottlenecks widen in their first stage
SKIPS = {
    "ResNet": ["projection", "identity", "projection", "identity", "identity"],
    "ResNet of basic blocks": ["identity", "identity", "projection", "identity"],
    "RegNet": ["projection", "projection", "identity"],
    "BiT": ["projection", "projection", "identity"],
    "Hiera": ["identity", "identity", "projection", "identity", "identity", "identity"],
}
# what a skip is called is open where MobileBERT adds to one of several projections of its input
OPEN = {"MobileBERT"}


def built(name):
    model, config, options, inputs, *_ = CASES[name]
    torch.manual_seed(0)
    configuration = getattr(transformers, config)(**options)
    return getattr(transformers, model)(configuration).eval(), inputs


@pytest.mark.parametrize("name", CASES)
def test_the_blocks_are_those_of_the_architecture(name):
    *_, count, activation, scale = CASES[name]
    net, inputs = built(name)
    blocks = find_blocks(net, **inputs)
    table = [(block.name, block.skip, block.activation, block.scale) for block in blocks]
    assert len(blocks) == count, "\n".join(map(str, table))
    if name not in OPEN:
        assert [block.skip for block in blocks] == SKIPS.get(name, ["identity"] * count), table
    if activation is not None:
        assert {block.activation for block in blocks} == {activation}, table
    if scale is not None:
        assert [block.scale for block in blocks] == pytest.approx([scale] * count), table


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["GPT-2", "BERT", "Llama", "ViT", "Whisper"])
def test_how_attention_is_computed_changes_no_table(name, attention):
    model, config, options, inputs, count, *_ = CASES[name]
    torch.manual_seed(0)
    configuration = getattr(transformers, config)(**options, attn_implementation=attention)
    net = getattr(transformers, model)(configuration).eval()
    assert len(find_blocks(net, **inputs)) == count


@pytest.mark.parametrize("name", ["GPT-2", "Llama", "BERT"])
def test_a_head_on_top_adds_no_block(name):
    heads = {
        "GPT-2": "GPT2LMHeadModel",
        "Llama": "LlamaForCausalLM",
        "BERT": "BertForSequenceClassification",
    }
    _, config, options, inputs, count, *_ = CASES[name]
    torch.manual_seed(0)
    net = getattr(transformers, heads[name])(getattr(transformers, config)(**options)).eval()
    assert len(find_blocks(net, **inputs)) == count
