"""Scripted answers by name: one answer, a function of the request, or a list with an answer for each call."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Callable, Generic, Optional, TypeVar, Union, cast

CallT = TypeVar("CallT")
ScriptT = TypeVar("ScriptT")

_Key = tuple[str, Optional[str]]
"""A name, and a variant of it; None for all variants without an answer of their own."""


class NoAnswerLeftError(Exception):
    """A list of answers is used up."""


class ScriptedAnswers(Generic[CallT, ScriptT]):
    """The scripted answers of a fake service's prompts, workflows or agents. Thread-safe.

    Args:
        title: What is scripted, for error messages: "deployment", "agent".
        types: The types an answer may have.
        expected: Those types in words, for error messages.
    """

    def __init__(self, title: str, types: tuple[type, ...], expected: str) -> None:
        self.title = title
        self._types = types
        self._expected = expected
        self._answers: dict[_Key, Sequence[object]] = {}
        # Only lists are counted: a single answer is repeated.
        self._used: dict[_Key, int] = {}
        self._lock = threading.Lock()

    def put(
        self,
        name: str,
        answer: Union[ScriptT, Callable[[CallT], ScriptT], Sequence[Union[ScriptT, Callable[[CallT], ScriptT]]]],
        variant: Optional[str] = None,
    ) -> None:
        """Set the answer of a name, or of one variant.

        Raises:
            TypeError: The answer has another type.
            ValueError: The list is empty.

        """
        is_list = isinstance(answer, Sequence) and not isinstance(answer, self._types)
        answers = [self._check(each) for each in cast("Sequence[object]", answer if is_list else [answer])]
        if not answers:
            raise ValueError("the list of answers must not be empty")
        with self._lock:
            self._answers[name, variant] = answers
            self._used.pop((name, variant), None)
            if is_list:
                self._used[name, variant] = 0

    def find(
        self,
        name: str,
        call: CallT,
        variant: Optional[str] = None,
        default: Union[ScriptT, Callable[[CallT], ScriptT], None] = None,
    ) -> Optional[ScriptT]:
        """Return the answer to a call: that of the variant, of the name, or the default; None if there is none.

        Raises:
            NoAnswerLeftError: The list is used up.
            TypeError: A function returned something that is not an answer.

        """
        answer = self._next(name, variant, default)
        if answer is None or isinstance(answer, self._types):
            return cast("Optional[ScriptT]", answer)
        return cast("ScriptT", self._check(cast("Callable[[CallT], object]", answer)(call), is_result=True))

    def _next(self, name: str, variant: Optional[str], default: object) -> object:
        with self._lock:
            key = (name, variant) if (name, variant) in self._answers else (name, None)
            answers = self._answers.get(key, [default])
            index = self._used.get(key, 0)
            if key in self._used:
                self._used[key] += 1
        if index >= len(answers):
            scripted = "1 answer is" if len(answers) == 1 else f"{len(answers)} answers are"
            raise NoAnswerLeftError(f"{name!r} was called {index + 1} times, but only {scripted} scripted")
        return answers[index]

    def has(self, name: str, variant: Optional[str] = None) -> bool:
        """Return whether a name, or a variant of it, has an answer."""
        return not self._answers.keys().isdisjoint({(name, variant), (name, None)})

    def keys(self) -> set[_Key]:
        """Return the names that have an answer, with a variant if only that variant has one."""
        known = self._answers.keys()
        return {(name, variant) for name, variant in known if variant is None or (name, None) not in known}

    def _check(self, answer: object, *, is_result: bool = False) -> object:
        if isinstance(answer, self._types) or (callable(answer) and not is_result):
            return answer
        raise TypeError(f"an answer must be {self._expected}, not {type(answer).__name__}")
