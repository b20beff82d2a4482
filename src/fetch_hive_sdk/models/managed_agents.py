"""The agents of a workspace and their chats, as they are managed. Performs no I/O."""

from __future__ import annotations

from typing import Any, Literal, Optional

from typing_extensions import TypedDict

from .agents import ReceivedId
from .base import Received

# --- What we send ----------------------------------------------------------------------------------------------------


class _NewAgent(TypedDict):
    name: str
    """What the agent is called."""
    llm_model: str
    """The model that it uses: see `client.catalogue.models()`."""
    model_type: str
    """Who pays for the model: `hosted` or `personal`; an open set."""


class AgentFields(_NewAgent, total=False):
    """The keywords of `client.agents.create`. `name`, `llm_model` and `model_type` are required."""

    description: Optional[str]
    """What it is for."""
    instruction_prompt: Optional[str]
    """What it is instructed to do."""
    temperature: Optional[float]
    """How free the model is."""
    max_token: Optional[int]
    """How many tokens an answer may have."""


class AgentChanges(TypedDict, total=False):
    """The keywords of `client.agents.update`. A field that is not given stays; None is sent as null."""

    name: Optional[str]
    """What the agent is called."""
    llm_model: Optional[str]
    """The model that it uses: see `client.catalogue.models()`."""
    model_type: Optional[str]
    """Who pays for the model: `hosted` or `personal`; an open set."""
    description: Optional[str]
    """What it is for."""
    instruction_prompt: Optional[str]
    """What it is instructed to do."""
    temperature: Optional[float]
    """How free the model is."""
    max_token: Optional[int]
    """How many tokens an answer may have."""
    max_thinking_token: Optional[int]
    """How many tokens the model may think."""
    anthropic_prompt_cache_ttl: Optional[Literal["disabled", "5m", "1h"]]
    """How long models of Anthropic keep the prompt in their cache."""
    reasoning_effort: Optional[Literal["minimal", "low", "medium", "high", "xhigh", "max"]]
    """How hard the model thinks."""
    tool_choice: Optional[Literal["none", "auto", "required"]]
    """Whether it may, or must, use tools."""
    max_tool_calls: Optional[int]
    """How often it may use tools in one run."""


class ChatFields(TypedDict):
    """The keywords of `client.agents.chats.create` and `rename`."""

    name: Optional[str]
    """What the chat is called."""


# --- What we receive -------------------------------------------------------------------------------------------------


class Agent(Received, frozen=True):
    """An agent of a workspace. The service does not document its fields: all but the id may be missing."""

    id: ReceivedId
    """Its id: pass it to `client.invoke_agent`."""
    name: Optional[str] = None
    """What it is called."""
    description: Optional[str] = None
    """What it is for."""
    status: Optional[str] = None
    """Whether it is active."""
    llm_model: Optional[str] = None
    """The model that it uses."""
    model_type: Optional[str] = None
    """Who pays for the model."""
    provider: Optional[str] = None
    """Who runs the model."""
    instruction_prompt: Optional[str] = None
    """What it is instructed to do."""
    temperature: Optional[float] = None
    """How free the model is."""
    max_token: Optional[int] = None
    """How many tokens an answer may have."""
    max_thinking_token: Optional[int] = None
    """How many tokens the model may think."""
    reasoning_effort: Optional[str] = None
    """How hard the model thinks."""
    tool_choice: Optional[str] = None
    """Whether it may, or must, use tools."""
    max_tool_calls: Optional[int] = None
    """How often it may use tools in one run."""


class AgentChat(Received, frozen=True):
    """A chat of an agent."""

    id: ReceivedId
    """Its id."""
    name: Optional[str] = None
    """What it is called."""
    last_message_content: Optional[str] = None
    """The text of its last message."""
    last_message_sent_at: Optional[str] = None
    """When its last message was sent."""
    message_count: Optional[int] = None
    """How many messages it has."""
    generated_at: Optional[str] = None
    """When it was created."""
    status: Optional[str] = None
    """`active` or `archived`; an open set."""
    agent: Optional[dict[str, Any]] = None
    """The agent that it belongs to."""


class AgentChatMessage(Received, frozen=True):
    """A message of a chat."""

    id: ReceivedId
    """Its id."""
    content: Optional[str] = None
    """Its text."""
    role: Optional[str] = None
    """Who sent it: `user`, `assistant` or `system`; an open set."""
    sent_at: Optional[str] = None
    """When it was sent."""
    chat_id: Optional[str] = None
    """The chat that it belongs to."""
