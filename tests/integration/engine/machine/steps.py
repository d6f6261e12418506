"""Acts of the state machine as values: drawn, printed and taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import strategies as st

Function = TypeVar("Function", bound=Callable[..., None])
Condition = Callable[[Any], object]


@dataclass(frozen=True)
class Step:
    """One act with its arguments; reads as the call that repeats it."""

    act: str
    given: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{self.act}({', '.join(f'{name}={value!r}' for name, value in self.given.items())})"

    def take(self, machine: Any, *, otherwise: Step) -> None:
        """Act; where there is nothing to act on, bring that nearer."""
        if getattr(machine, self.act).needs(machine):
            getattr(machine, self.act)(**self.given)
        else:
            getattr(machine, otherwise.act)(**otherwise.given)


def act(*, needs: Condition = lambda machine: True, **given: st.SearchStrategy[Any]) -> Callable[[Function], Function]:
    """Make a method an act. given: what its arguments are drawn from; needs: what must be true before."""

    def mark(function: Function) -> Function:
        function.given, function.needs = given, needs  # type: ignore[attr-defined]
        return function

    return mark


def steps_of(machine: type, weights: dict[str, int]) -> st.SearchStrategy[Step]:
    """Draw a step: first which act, by weight (1 where none is given), then its arguments."""
    acts = {name: st.fixed_dictionaries(function.given) for name, function in vars(machine).items() if hasattr(function, "given")}
    names = [name for name in acts for _ in range(weights.get(name, 1))]
    return st.sampled_from(names).flatmap(lambda name: st.builds(Step, st.just(name), acts[name]))
