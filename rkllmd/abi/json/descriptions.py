"""What each field means, in which unit and range, for people who ask ``rpc.discover``.

Ranges are narrower than the C type only where every runtime agrees: what ``rkllm_createDefaultParam`` answers has to be
accepted by ``rkllm.init`` on all of them.
"""

from __future__ import annotations

from typing import NamedTuple


class Doc(NamedTuple):
    """A field's meaning, and its range where the C type allows more than makes sense."""

    text: str
    minimum: float | None = None
    maximum: float | None = None


# The ranges of sampling are those in which published values lie: with -1e30 for a penalty the end token is never
# chosen, and such a run has no end. The vendor's defaults (1, 0.9, 0.8, 1.1, 0, 0, 0, 5, 0.1) are well inside.
_SAMPLING = {
    # 0 and -1 are "all tokens" elsewhere; no vocabulary has more than some 300,000.
    "top_k": Doc("Sample from the k likeliest tokens; 1 is greedy.", -1, 1_000_000),
    "top_p": Doc("Sample from the likeliest tokens that together have this probability.", 0, 1),
    # OpenAI's API allows 2; what is above 10 can't be told from pure chance.
    "temperature": Doc("Higher is more random.", 0, 10),
    # CTRL, where it comes from, has 1.2 (arXiv 1909.05858). 0 would be divided by.
    "repeat_penalty": Doc("Penalty on tokens that occurred already; 1 is none.", 0.01, 10),
    # As in OpenAI's API.
    "frequency_penalty": Doc("Penalty that grows with a token's count; 0 is none.", -2, 2),
    "presence_penalty": Doc("Penalty on tokens that are present at all; 0 is none.", -2, 2),
    "mirostat": Doc("0: off, 1: Mirostat, 2: Mirostat 2.0.", 0, 2),
    # The paper (arXiv 2007.14966) has 1 to 9 bits and a rate of 0.1; a text has no more bits than its vocabulary, 18.
    "mirostat_tau": Doc("Mirostat's target entropy, in bits.", 0, 20),
    "mirostat_eta": Doc("Mirostat's learning rate.", 0, 1),
}

_IMAGE = {
    "image_embed": Doc("float32 [n_image, n_image_tokens, width]: what the vision encoder gave."),
    "n_image_tokens": Doc("Tokens of one image; inferred where the tensor has a shape.", 1),
    "n_image": Doc("Number of images; 1 where neither this nor the tensor's shape says more.", 1),
    "image_start": Doc("Tag before an image (runtime 1.3; on 1.2 give img_start to rkllm.init)."),
    "image_end": Doc("Tag after an image (runtime 1.3; on 1.2 give img_end to rkllm.init)."),
    "image_content": Doc("Tag for each image token (runtime 1.3; on 1.2 give img_content to rkllm.init)."),
    "image_width": Doc("Width of the image that the vision encoder saw, in pixels."),
    "image_height": Doc("Height of the image that the vision encoder saw, in pixels."),
}

FIELDS: dict[str, dict[str, Doc]] = {
    "RKLLMParam": {
        "model_path": Doc("Path of the .rkllm file on the board."),
        "max_context_len": Doc("Size of the context in tokens; not above what the model was converted for."),
        "max_new_tokens": Doc("Most tokens that one run generates."),
        "n_keep": Doc("Tokens at the start of the context that stay when it overflows."),
        **_SAMPLING,
        "skip_special_token": Doc("Leave special tokens out of the text."),
        "ignore_eos_token": Doc("Go on past the end token (runtime 1.3)."),
        "is_async": Doc("Asked of the runtime; the daemon never blocks either way."),
        "img_start": Doc("Tag before an image (runtime 1.2; on 1.3 give image_start in each input)."),
        "img_end": Doc("Tag after an image (runtime 1.2; on 1.3 give image_end in each input)."),
        "img_content": Doc("Tag for each image token (runtime 1.2; on 1.3 give image_content in each input)."),
        "extend_param": Doc("Where and how wide the model runs."),
    },
    "RKLLMExtendParam": {
        "base_domain_id": Doc("NPU memory domain, 4 GiB each; models in different domains never run at one moment."),
        "embed_flash": Doc("Read word embeddings from flash instead of memory."),
        "enabled_cpus_num": Doc("Number of CPUs the runtime uses; at least the NPU cores of the model."),
        "enabled_cpus_mask": Doc("Mask of those CPUs, CPU0 = 1: 0xF0 on RK3588 and RK3576, 0x0F elsewhere."),
        "n_batch": Doc("Inputs that one run processes at the same time; at most 8 is advised."),
        "use_cross_attn": Doc("Use cross-attention, with models converted for it."),
    },
    "RKLLMLoraAdapter": {
        "lora_adapter_path": Doc("Path of the adapter's .rkllm file on the board."),
        "lora_adapter_name": Doc("Name by which runs choose the adapter."),
        "scale": Doc("Weight of the adapter; 1 is as trained."),
    },
    "RKLLMLoraParam": {"lora_adapter_name": Doc("Name of a loaded adapter.")},
    "RKLLMPromptCacheParam": {
        "save_prompt_cache": Doc("Write the prompt cache of this run to prompt_cache_path."),
        "prompt_cache_path": Doc("Absolute path of the cache file on the board, or a name: then the daemon keeps it."),
    },
    "RKLLMEmbedInput": {
        "embed": Doc("float32 [n_tokens, width]."),
        "n_tokens": Doc("Number of rows; inferred where the tensor has a shape.", 1),
    },
    "RKLLMTokenInput": {
        "input_ids": Doc("int32 [n_tokens]."),
        "n_tokens": Doc("Number of ids; inferred.", 1),
    },
    "RKLLMMultiModalInput": {
        "prompt": Doc("Text with a tag where each belongs: <image>, <video>, <audio>."),
        "image": Doc("Images; their fields may as well stand beside prompt."),
        "video": Doc("Videos (runtime 1.3)."),
        "audio": Doc("Audio (runtime 1.3.1)."),
        **_IMAGE,
    },
    "RKLLMImageInput": _IMAGE,
    "RKLLMVideoInput": {
        "video_embed": Doc("float32 [n_video, n_frame_per_video, n_frame_tokens, width]."),
        "n_frame_tokens": Doc("Tokens of one frame; inferred where the tensor has a shape.", 1),
        "n_frame_per_video": Doc("Frames of one video; inferred where the tensor has a shape.", 1),
        "n_video": Doc("Number of videos; 1 where neither this nor the tensor's shape says more.", 1),
        "video_start": Doc("Tag before a video."),
        "video_end": Doc("Tag after a video."),
        "video_content": Doc("Tag for each frame token."),
        "frame_width": Doc("Width of a frame in pixels."),
        "frame_height": Doc("Height of a frame in pixels."),
    },
    "RKLLMAudioInput": {
        "audio_embed": Doc("float32 [n_audio, n_audio_tokens, width]: what the audio encoder gave."),
        "n_audio_tokens": Doc("Tokens of one piece of audio; inferred where the tensor has a shape.", 1),
        "n_audio": Doc("Number of pieces; 1 where neither this nor the tensor's shape says more.", 1),
        "audio_start": Doc("Tag before a piece of audio."),
        "audio_end": Doc("Tag after a piece of audio."),
        "audio_content": Doc("Tag for each audio token."),
    },
    "RKLLMInput": {
        "role": Doc("Who speaks: user, or tool for the result of a function."),
        "enable_thinking": Doc("Let a thinking model think; without effect after rkllm.set_chat_template."),
        "input_type": Doc("Which kind of input this is; inferred from the one that is given."),
        "prompt_input": Doc("Input as text."),
        "embed_input": Doc("Input as embeddings."),
        "token_input": Doc("Input as token ids."),
        "multimodal_input": Doc("Input as text with images, videos or audio."),
    },
    "RKLLMSamplingParam": _SAMPLING,
    "RKLLMInferParam": {
        "mode": Doc("What the run produces: text, the last hidden layer, or logits."),
        "lora_params": Doc("The LoRA adapter to use."),
        "prompt_cache_params": Doc("Whether to save the prompt cache."),
        "sampling_params": Doc("Sampling of this run (runtime 1.3); a field left out is as the model was loaded."),
        "keep_history": Doc("Keep the conversation in the KV cache for the next run."),
        "max_new_tokens": Doc("Most tokens that this run generates; 0: as the model was loaded."),
    },
    "RKLLMCrossAttnParam": {
        "encoder_k_cache": Doc("float32 [layers, num_tokens, kv_heads, head_dim]."),
        "encoder_v_cache": Doc("float32 [layers, kv_heads, head_dim, num_tokens]."),
        "encoder_mask": Doc("float32 [num_tokens]."),
        "encoder_pos": Doc("int32 [num_tokens]."),
        "num_tokens": Doc("Tokens of the encoder's output; inferred.", 1),
    },
}
"""Struct → field → meaning, for every field that a client can give."""
