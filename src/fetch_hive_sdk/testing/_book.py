"""Which answer is next: for each name one answer, a function of the request, or a list that is taken in turn."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Callable, Generic, Optional, TypeVar, Union, cast

CallT = TypeVar("CallT")
ScriptT = TypeVar("ScriptT")

_Key = tuple[str, Optional[str]]


class UsedUpError(Exception):
    """There is no answer left in a list; the text says so."""


class AnswerBook(Generic[CallT, ScriptT]):
    """The answers of the agents, or of the workflows, of a fake service. Threads may share it.

    Args:
        kinds: The types that an answer may have.
        expected: What they are, for the message of an error.
    """

    def __init__(self, kinds: tuple[type, ...], expected: str) -> None:
        self._kinds = kinds
        self._expected = expected
        self._answers: dict[_Key, Sequence[Union[ScriptT, Callable[[CallT], ScriptT]]]] = {}
        self._taken: dict[_Key, int] = {}
        self._lock = threading.Lock()

    def put(
        self,
        name: str,
        answer: Union[ScriptT, Callable[[CallT], ScriptT], Sequence[Union[ScriptT, Callable[[CallT], ScriptT]]]],
        variant: Optional[str] = None,
    ) -> None:
        """Set the answer of a name, and of one variant if it is given.

        Raises:
            TypeError: It is not an answer.
            ValueError: It is a list without answers.

        """
        is_list = isinstance(answer, Sequence) and not isinstance(answer, self._kinds)
        given = cast("Sequence[object]", answer if is_list else [answer])
        answers = [self._checked(each) for each in given]
        if not answers:
            raise ValueError("there must be an answer in the list")
        with self._lock:
            self._answers[name, variant] = cast("Sequence[Union[ScriptT, Callable[[CallT], ScriptT]]]", answers)
            # A single answer is given again and again.
            self._taken.pop((name, variant), None)
            if is_list:
                self._taken[name, variant] = 0

    def find(self, name: str, call: CallT, variant: Optional[str] = None) -> Optional[ScriptT]:
        """Return the answer to a call; None if the name has none.

        Raises:
            UsedUpError: There is none left in its list.

        """
        with self._lock:
            key = (name, variant) if (name, variant) in self._answers else (name, None)
            answers = self._answers.get(key)
            if answers is None:
                return None
            place = self._taken.get(key, 0)
            if key in self._taken:
                self._taken[key] += 1
        if place >= len(answers):
            raise UsedUpError(f"{name!r} has a list of {len(answers)} answers, and this is call {place + 1}")
        answer = answers[place]
        if isinstance(answer, self._kinds):
            return cast("ScriptT", answer)
        return cast("ScriptT", self._checked(cast("Callable[[CallT], ScriptT]", answer)(call), may_call=False))

    def names(self) -> list[str]:
        """Return the names that have an answer."""
        with self._lock:
            return sorted({name for name, _ in self._answers})

    def _checked(self, answer: object, *, may_call: bool = True) -> object:
        if isinstance(answer, self._kinds) or (may_call and callable(answer)):
            return answer
        raise TypeError(f"an answer is {self._expected}; this is of type {type(answer).__name__}")
