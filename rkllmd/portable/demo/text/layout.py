"""The prompt layout that the portable runtime produces, restated so that the demo model trains on exactly it.

The C++ side is ``chat_template.cpp``; tests/portable/rkllm/test_prompts.py asks the library for its prompts through the
tokenizer callback and compares them with these functions, so that the two cannot drift apart.
"""

from __future__ import annotations

# llama.cpp recognises ChatML by its tags and the runtime recognises switchable thinking by the word enable_thinking.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"
)
NO_THINKING = "<think>\n\n</think>\n\n"
END_OF_TEXT = "<|endoftext|>"
END_OF_TURN = "<|im_end|>"
CONTROL_TOKENS = (END_OF_TEXT, "<|im_start|>", END_OF_TURN)
TAG_TOKENS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")


def message(role: str, content: str) -> str:
    """Return one ChatML message."""
    return f"<|im_start|>{role}\n{content}{END_OF_TURN}\n"


def answer_start(thinking: bool) -> str:
    """Return what stands before the first token of an answer."""
    return "<|im_start|>assistant\n" + ("" if thinking else NO_THINKING)


def tools_prompt(system_prompt: str, tools: str) -> str:
    """Return the system prompt after rkllm_set_function_tools."""
    head = system_prompt + "\n\n" if system_prompt else ""
    return (
        f"{head}# Tools\n\nYou may call these functions:\n<tools>\n{tools}\n</tools>\n\n"
        'To call one, answer with <tool_call>{"name": <function name>, "arguments": <JSON object>}</tool_call>'
    )


def tool_response(text: str, tag: str = "tool_response") -> str:
    """Return a function's result as an input with role "tool" puts it into a user message."""
    return f"<{tag}>\n{text}\n</{tag}>"
