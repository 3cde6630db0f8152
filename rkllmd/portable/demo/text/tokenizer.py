"""The byte-level BPE tokenizer of the demo model."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from rkllmd.portable.demo.text import layout
from rkllmd.portable.demo.text.corpus import Chat

VOCABULARY = 1024


def train_tokenizer(chats: list[Chat]) -> Tokenizer:
    """Learn the merges; byte level, so that every text has tokens and characters can be split over several."""
    tokenizer = Tokenizer(models.BPE())
    # No merge joins a space with a number or a name: these have the same tokens wherever they stand, which makes them
    # far easier to calculate with and to copy.
    alone = pre_tokenizers.Split(Regex(r" (?=[0-9A-Z])"), behavior="isolated")
    # llama.cpp's "gpt-2" pre-tokenizer, which the GGUF file names, splits in the same places.
    as_the_engine = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([alone, as_the_engine])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[*layout.CONTROL_TOKENS, *layout.TAG_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=50,
        show_progress=False,
    )
    texts = ["".join(text for text, _ in chat) for chat in chats]
    # Each number that sums can have becomes a token, however rare it is.
    texts += [" ".join(map(str, range(41)))] * len(chats)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = as_the_engine
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
    ids: list[int] = [*tokenizer.encode(layout.END_OF_TEXT).ids]
    learned, piece = [False], 0
    for token, (start, _) in zip(encoding.ids, encoding.offsets, strict=True):
        while start >= learn_until[piece][0]:
            piece += 1
        ids.append(token)
        learned.append(learn_until[piece][1])
    return ids, learned
