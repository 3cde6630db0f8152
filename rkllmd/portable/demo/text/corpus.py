"""The chats that the demo model is trained on, made from our own text with a fixed seed.

A chat is a list of (text, learn) pieces: the model is trained to write what is marked ``learn`` (the answers) and only
reads the rest, so that no weight is spent on guessing questions.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from rkllmd.portable.demo.text import function_calls, known, layout, pictures, questions, unknown
from rkllmd.portable.demo.text.words import QuestionAnswer, listed

Piece = tuple[str, bool]
Chat = list[Piece]

CHATS = 50_000  # what the shipped model was trained on; each is seen once
SYSTEM_PROMPTS = [
    "You are a helpful assistant.",
    "You are a tiny demo model.",
    "Answer briefly.",
    "Be kind and short.",
    "You are a friendly assistant that answers in one sentence.",
    "You are an assistant on a small board.",
    "Answer the user's questions.",
    "You read digits in pictures.",
    "You are an assistant that looks at pictures.",
]
INTRODUCTIONS = listed("My name is {}.|I am {}.|Hello, my name is {}.|Hi, I am {}.|Call me {}.|my name is {}", "|")
NAME_QUESTIONS = listed("What is my name?|what is my name|What's my name?|Who am I?|Do you know my name?", "|")
FOLLOW_UPS = ["And of {}?", "And {}?", "What about {}?", "and {}?"]
_SHARES = [share for share, _, _ in questions.KINDS]


def answer_piece(answer: str, thought: str | None) -> list[Piece]:
    """Return an assistant's turn; the thought is written only when thinking is switched on."""
    text = f"<think>\n{thought}\n</think>\n\n{answer}" if thought else answer
    return [(layout.answer_start(thought is not None), False), (text + layout.END_OF_TURN, True), ("\n", False)]


def turn(rng: random.Random, thinking: bool, tools: bool = False) -> list[Piece]:
    """Return a question and its answer that need no function."""
    _, maker, thought = rng.choices(questions.KINDS, _SHARES)[0]
    if tools and maker is questions.no_tool:
        return turn(rng, thinking, tools)
    question, answer = maker(rng)
    return [(layout.message("user", question), False), *answer_piece(answer, thought if thinking else None)]


def exchange(question: str, answer: str, thought: str | None = None) -> list[Piece]:
    """Return a given question and answer as a turn."""
    return [(layout.message("user", question), False), *answer_piece(answer, thought)]


def remembered(rng: random.Random, thinking: bool) -> Chat:
    """Return a chat in which a later answer needs something that the user said before."""
    kind = rng.random()
    if kind < 0.5:
        name = rng.choice(known.PEOPLE) if rng.random() < 0.4 else unknown.made_up_word(rng, capital=True)
        first = (rng.choice(INTRODUCTIONS).format(name), f"Nice to meet you, {name}! How can I help you?")
        last = (rng.choice(NAME_QUESTIONS), f"Your name is {name}.")
        missing = "You have not told me your name."
    elif kind < 0.75:
        what = rng.choice(list(known.FAVOURITES))
        value = rng.choice(known.FAVOURITES[what]) if rng.random() < 0.8 else unknown.made_up_word(rng)
        first = (f"My favourite {what} is {value}.", f"{value[0].upper()}{value[1:]} is a good choice!")
        last = (f"What is my favourite {what}?", f"Your favourite {what} is {value}.")
        missing = f"You have not told me your favourite {what}."
    else:
        city = rng.choice(known.CITIES) if rng.random() < 0.7 else unknown.made_up_word(rng, capital=True)
        first = (rng.choice(["I live in {}.", "I am from {}."]).format(city), f"{city} must be a nice place!")
        last = (rng.choice(["Where do I live?", "Where am I from?"]), f"You told me {city}.")
        missing = "You have not told me where you live."
    thought = "I look at what the user said before." if thinking else None
    between = [piece for _ in range(rng.choice([0, 0, 0, 1, 1, 2, 4])) for piece in turn(rng, thinking)]
    if rng.random() < 0.15:
        return between + exchange(last[0], missing, thought)
    return exchange(*first, thought) + between + exchange(*last, thought)


def followed_up(rng: random.Random, thinking: bool) -> Chat:
    """Return a question whose meaning comes from the one before it."""
    maker, table, form = rng.choice([
        (questions.capital, known.CAPITALS, "The capital of {} is {}."),
        (questions.opposite, known.OPPOSITES, "The opposite of {} is {}."),
    ])  # fmt: skip
    thought = "The user goes on with the same question." if thinking else None
    chat = exchange(*maker(rng), thought)
    for _ in range(rng.randint(1, 2)):
        word = rng.choice(list(table))
        chat += exchange(rng.choice(FOLLOW_UPS).format(word), form.format(word, table[word]), thought)
    return chat


def shown(rng: random.Random, thinking: bool) -> Chat:
    """Return a chat about pictures, one after the other, with other questions before and between them."""
    thought = "I look at the picture." if thinking else None
    if rng.random() < 0.1:
        thought = "There is no picture." if thinking else None
        return exchange(*pictures.without_picture(rng), thought) + turn(rng, thinking)
    chat = [piece for _ in range(rng.choice([0, 0, 0, 1, 2])) for piece in turn(rng, thinking)]
    chat += exchange(*pictures.question(rng), thought)
    for _ in range(rng.choice([0, 0, 1, 2, 3])):
        if rng.random() < 0.15:
            chat += turn(rng, thinking)
        chat += exchange(*(pictures.follow_up(rng) if rng.random() < 0.6 else pictures.question(rng)), thought)
    return chat


def with_tools(rng: random.Random, thinking: bool) -> Chat:
    """Return a chat with functions: calls where one fits, ordinary answers where none does."""
    place = rng.choice(function_calls.PLACES)
    names = rng.sample(list(function_calls.FUNCTIONS), rng.choice([1, 1, 1, 2, 3]))
    if rng.random() < 0.5 and "get_weather" not in names:
        names[0] = "get_weather"
    system = rng.choice([*SYSTEM_PROMPTS, "", "You are a helpful assistant."])
    tools = function_calls.tools_json(rng, names, place)
    chat: Chat = [(layout.message("system", layout.tools_prompt(system, tools)), False)]
    for _ in range(rng.choice([1, 1, 2, 3])):
        if rng.random() < 0.25:
            chat += turn(rng, thinking, tools=True)
            continue
        call = function_calls.FUNCTIONS[rng.choice(names)](rng, place)
        chat += exchange(call.question, call.text, f"I can call {call.name} for this." if thinking else None)
        tag = "tool_response" if rng.random() < 0.85 else rng.choice(["response", "tool_result", "result"])
        answered = layout.tool_response(call.result, tag)
        chat += exchange(answered, call.answer, "I have the result." if thinking else None)
    return chat


def drill(rng: random.Random, maker: Callable[[random.Random], QuestionAnswer], turns: int) -> Chat:
    """Return a chat of one kind of question: calculating and copying take far more examples than facts."""
    return [piece for _ in range(turns) for piece in exchange(*maker(rng))]


def chat(rng: random.Random) -> Chat:
    """Return one chat of the corpus."""
    thinking = rng.random() < 0.12
    kind = rng.random()
    if kind < 0.11:
        return with_tools(rng, thinking)
    pieces: Chat = []
    if rng.random() < 0.3:
        system = rng.choice(SYSTEM_PROMPTS) if rng.random() < 0.8 else f"You are {unknown.topic(rng)}."
        pieces.append((layout.message("system", system), False))
    if kind < 0.24:
        return pieces + remembered(rng, thinking)
    if kind < 0.27:
        return pieces + followed_up(rng, thinking)
    if kind < 0.38:
        return pieces + drill(rng, questions.small_sum, 6)
    if kind < 0.40:
        return pieces + drill(rng, questions.repetition, 4)
    if kind < 0.44:
        return pieces + shown(rng, thinking)
    if kind < 0.47:
        return pieces + drill(rng, pictures.question, 6)
    if kind < 0.48:
        return pieces + drill(rng, pictures.without_picture, 3)
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 5])):
        # A client may switch thinking between turns, so it is chosen for each.
        pieces += turn(rng, thinking and rng.random() < 0.8)
    return pieces


def corpus(chats: int = CHATS, seed: int = 1) -> list[Chat]:
    """Return the whole corpus; the same for the same arguments."""
    rng = random.Random(seed)
    return [chat(rng) for _ in range(chats)]


def revision(chats: int, seed: int = 2) -> list[Chat]:
    """Return more chats, most of them of what the model is still unsure of after the corpus."""
    rng = random.Random(seed)
    makers: list[tuple[float, Callable[[], Chat]]] = [
        (0.09, lambda: with_tools(rng, thinking=False)),
        (0.26, lambda: remembered(rng, thinking=False)),
        (0.12, lambda: drill(rng, questions.refusal_in_any_language, 2)),
        (0.08, lambda: drill(rng, questions.fact, 3)),
        (0.07, lambda: drill(rng, questions.small_sum, 6)),
        (0.08, lambda: shown(rng, thinking=False)),
        (0.04, lambda: drill(rng, pictures.question, 6)),
        (0.03, lambda: drill(rng, pictures.without_picture, 3)),
        (0.23, lambda: chat(rng)),
    ]
    shares = [share for share, _ in makers]
    return [rng.choices(makers, shares)[0][1]() for _ in range(chats)]
