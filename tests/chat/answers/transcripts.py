"""Answers as models of each dialect give them, and what is left of them after some edits."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

_BAR, _BLOCK = "\uff5c", "\u2581"
_CALL: Final = '{"name": "get_weather", "arguments": {"city": "Par\\"is </tool_call>"}}'
_OTHER: Final = '{"name": "search", "parameters": {}}'


def _deepseek(text: str) -> str:
    return text.replace("|", _BAR).replace("_", _BLOCK)


ANSWERS: Final = {
    "hermes": (
        f"<think>\nSo.\n</think>\n\nI look.\n<tool_call>\n{_CALL}\n</tool_call>\n"
        f"<tool_call>[{_CALL}]</tool_call> End"
    ),
    "qwen3_coder": (
        "I look. <tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n2\n"
        "</parameter>\n</function>\n</tool_call> End"
    ),
    "llama": (
        f"{_OTHER}; {_OTHER} End <|python_tag|>{_OTHER} "
        '<|python_tag|>search.call(query="a", b=[1, {"c": None}])'
    ),
    "mistral": (
        f"I look. [TOOL_CALLS] [{_CALL}] "
        '[TOOL_CALLS]search[ARGS]{"a": 1}[TOOL_CALLS]search[CALL_ID]123[ARGS]{}'
    ),
    "deepseek": (
        "I look." + _deepseek("<|tool_calls_begin|><|tool_call_begin|>function<|tool_sep|>search\n```json\n")
        + '{"query": 1}\n```' + _deepseek("<|tool_call_end|>\n<|tool_call_begin|>search<|tool_sep|>{}")
        + _deepseek("<|tool_call_end|><|tool_calls_end|>") + " End"
    ),
    "gemma": (
        "I look. ```tool_code\nprint(api.get_weather(city='Pa\\'ris', days=2))\nsearch()\n``` "
        "<start_function_call>call:search{query:<escape>a}<escape>,n:[1,true]}<end_function_call> "
        '<|tool_call>call:search{query:<|"|>x<|"|>}<tool_call|> End'
    ),
    "phi": f"I look. <|tool_call|>[{_CALL}]<|/tool_call|> functools[{_CALL}] End",
    "minicpm": (
        '<|tool_call_start|>\n```python\nsearch(query="a)", x={"k": (1, 2)})\n```\n<|tool_call_end|> '
        "<|tool_call_start|>[search(), search(a=1)]<|tool_call_end|> End"
    ),
    "internlm": f"I look.<|action_start|><|plugin|>\n{_OTHER}<|action_end|>\n",
    "harmony": (
        "<|channel|>analysis<|message|>So.<|end|><|start|>assistant<|channel|>commentary to=functions.search "
        '<|constrain|>json<|message|>{"query": 1}<|call|><|start|>assistant<|channel|>final<|message|>End<|return|>'
    ),
}  # fmt: skip


@st.composite
def edited(draw: st.DrawFn) -> tuple[str, str]:
    """Return a dialect and an answer in it, of which pieces may be missing, cut off or in the wrong place."""
    name = draw(st.sampled_from(sorted(ANSWERS)))
    text = ANSWERS[name]
    for _ in range(draw(st.integers(0, 3))):
        start, size = draw(st.integers(0, len(text))), draw(st.integers(0, 4))
        put = draw(st.sampled_from(["", *'<>{}[]()"\\|:,=\n a1', "<think>", "```", "</tool_call>", "é€😀"]))
        text = text[:start] + put + text[start + size :]
    return name, text[: draw(st.sampled_from([len(text), draw(st.integers(0, len(text)))]))]
