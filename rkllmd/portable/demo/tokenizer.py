"""The byte-level BPE tokenizer of the demo model."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from rkllmd.portable.demo import layout
from rkllmd.portable.demo.corpus import Chat

VOCABULARY = 1024


def train_tokenizer(chats: list[Chat]) -> Tokenizer:
    """Learn the merges; byte level, so that every text has tokens and characters can be split over several."""
    tokenizer = Tokenizer(models.BPE())
    # llama.cpp's "gpt-2" pre-tokenizer splits in the same places, which is what the GGUF file names.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[*layout.CONTROL_TOKENS, *layout.TAG_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=50,
        show_progress=False,
    )
    tokenizer.train_from_iterator(("".join(text for text, _ in chat) for chat in chats), trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, chat: Chat) -> tuple[list[int], list[bool]]:
    """Token ids of a chat, and for each whether the model learns to write it.

    A chat is tokenized as one text, as the runtime does it for a prompt, and the pieces' ends are found by offset.
    """
    encoding = tokenizer.encode("".join(text for text, _ in chat))
    learn_until: list[tuple[int, bool]] = []
    end = 0
    for text, learn in chat:
        end += len(text)
        learn_until.append((end, learn))
    ids, learned, piece = [tokenizer.token_to_id(layout.END_OF_TEXT)], [False], 0
    for token, (start, _) in zip(encoding.ids, encoding.offsets, strict=True):
        while start >= learn_until[piece][0]:
            piece += 1
        ids.append(token)
        learned.append(learn_until[piece][1])
    return ids, learned
