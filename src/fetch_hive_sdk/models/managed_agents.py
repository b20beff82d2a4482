"""The management of agents and their chats. Performs no I/O."""

from __future__ import annotations

from typing import Any, Literal, Optional

from typing_extensions import TypedDict

from .agents import ReceivedId
from .base import Received

# --- What we send ----------------------------------------------------------------------------------------------------


class _NewAgent(TypedDict):
    name: str
    """The name of the agent."""
    llm_model: str
    """The id of the model: see `client.catalogue.models()`."""
    model_type: str
    """Who pays for the model: `hosted` or `personal`; the service may add values."""


class AgentFields(_NewAgent, total=False):
    """The keywords of `client.agents.create`. `name`, `llm_model` and `model_type` are required."""

    description: Optional[str]
    """The description of the agent."""
    instruction_prompt: Optional[str]
    """The instructions of the agent."""
    temperature: Optional[float]
    """The temperature of the model."""
    max_token: Optional[int]
    """The maximum number of tokens of an answer."""


class AgentChanges(TypedDict, total=False):
    """The keywords of `client.agents.update`. Omitted fields stay unchanged; None is sent as null."""

    name: Optional[str]
    """The name of the agent."""
    llm_model: Optional[str]
    """The id of the model: see `client.catalogue.models()`."""
    model_type: Optional[str]
    """Who pays for the model: `hosted` or `personal`; the service may add values."""
    description: Optional[str]
    """The description of the agent."""
    instruction_prompt: Optional[str]
    """The instructions of the agent."""
    temperature: Optional[float]
    """The temperature of the model."""
    max_token: Optional[int]
    """The maximum number of tokens of an answer."""
    max_thinking_token: Optional[int]
    """The maximum number of tokens for reasoning."""
    anthropic_prompt_cache_ttl: Optional[Literal["disabled", "5m", "1h"]]
    """How long Anthropic models cache the prompt."""
    reasoning_effort: Optional[Literal["minimal", "low", "medium", "high", "xhigh", "max"]]
    """The reasoning effort of the model."""
    tool_choice: Optional[Literal["none", "auto", "required"]]
    """Whether the model must not, may or must call tools."""
    max_tool_calls: Optional[int]
    """The maximum number of tool calls per run."""


class ChatFields(TypedDict):
    """The keywords of `client.agents.chats.create` and `rename`."""

    name: Optional[str]
    """The name of the chat."""


# --- What we receive -------------------------------------------------------------------------------------------------


class Agent(Received, frozen=True):
    """An agent of a workspace. The API does not document its fields: all except the id may be missing."""

    id: ReceivedId
    """The id of the agent: pass it to `client.invoke_agent`."""
    name: Optional[str] = None
    """The name of the agent."""
    description: Optional[str] = None
    """The description of the agent."""
    status: Optional[str] = None
    """The status, such as `active`."""
    llm_model: Optional[str] = None
    """The id of the model."""
    model_type: Optional[str] = None
    """Who pays for the model."""
    provider: Optional[str] = None
    """The provider of the model."""
    instruction_prompt: Optional[str] = None
    """The instructions of the agent."""
    temperature: Optional[float] = None
    """The temperature of the model."""
    max_token: Optional[int] = None
    """The maximum number of tokens of an answer."""
    max_thinking_token: Optional[int] = None
    """The maximum number of tokens for reasoning."""
    reasoning_effort: Optional[str] = None
    """The reasoning effort of the model."""
    tool_choice: Optional[str] = None
    """Whether the model must not, may or must call tools."""
    max_tool_calls: Optional[int] = None
    """The maximum number of tool calls per run."""


class AgentChat(Received, frozen=True):
    """A chat of an agent."""

    id: ReceivedId
    """The id of the chat."""
    name: Optional[str] = None
    """The name of the chat."""
    last_message_content: Optional[str] = None
    """The text of the last message."""
    last_message_sent_at: Optional[str] = None
    """When the last message was sent."""
    message_count: Optional[int] = None
    """The number of messages."""
    generated_at: Optional[str] = None
    """When the chat was created."""
    status: Optional[str] = None
    """`active` or `archived`; the service may add values."""
    agent: Optional[dict[str, Any]] = None
    """The agent."""


class AgentChatMessage(Received, frozen=True):
    """A message of a chat."""

    id: ReceivedId
    """The id of the message."""
    content: Optional[str] = None
    """The text of the message."""
    role: Optional[str] = None
    """The sender: `user`, `assistant` or `system`; the service may add values."""
    sent_at: Optional[str] = None
    """When the message was sent."""
    chat_id: Optional[str] = None
    """The id of the chat."""
