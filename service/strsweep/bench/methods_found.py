"""What the benchmark of the methods found so far, case by case: an hour of training is not lost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from strsweep.bench.methods import Case, Outcome
from strsweep.bench.search_runs import code_id, json_lines
from strsweep.config import Experiment


class FoundOutcomes:
    """A file of JSON lines, one per case, with one process that writes it.

    Args:
        path: Created with the first case.
        experiment: Cases of another recipe, or of other training code, are not read.
    """

    def __init__(self, path: Path, experiment: Experiment) -> None:
        self.path = path
        self._recipe = f"{experiment.recipe_id}-{code_id()}"
        self._cases: dict[str, list[Outcome]] = dict(self._read())

    def of(self, case: Case) -> list[Outcome] | None:
        """Return the outcomes of ``case``, or None if it is still to be trained."""
        return self._cases.get(_key(case))

    def add(self, case: Case, outcomes: Sequence[Outcome]) -> None:
        """Write what ``case`` gave."""
        self._cases[_key(case)] = list(outcomes)
        line = {
            "recipe": self._recipe,
            "case": asdict(case),
            "outcomes": [asdict(outcome) for outcome in outcomes],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _read(self) -> Iterator[tuple[str, list[Outcome]]]:
        for line in json_lines(self.path):
            if line["recipe"] == self._recipe:
                outcomes = [Outcome(**outcome) for outcome in line["outcomes"]]
                yield json.dumps(line["case"]), outcomes


def _key(case: Case) -> str:
    return json.dumps(asdict(case))
