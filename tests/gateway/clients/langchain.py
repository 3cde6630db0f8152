"""What LangChain's clients of both protocols are tried with alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.gateway.clients import weather

if TYPE_CHECKING:
    from langchain_core.messages import HumanMessage


def call_and_tell(bound: Any) -> HumanMessage:
    """Have a client that was told ``weather.TOOL`` call it, and tell it the result; return the question."""
    from langchain_core.messages import HumanMessage, ToolMessage

    question = HumanMessage(weather.QUESTION)
    called = bound.invoke([question])
    [call] = called.tool_calls
    assert (call["name"], call["args"]) == (weather.NAME, weather.ARGUMENTS)
    said = bound.invoke([question, called, ToolMessage(weather.RESULT, tool_call_id=call["id"])])
    assert "21" in said.text
    return question
