"""Strip the journal of a sweep to what the tests of the time left need.

python tests/unit/search/strip_journal.py results/sweeps/<sweep id>/journal > recorded.jsonl
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def stripped(folder: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for path in folder.glob("*.jsonl") for line in path.open()]
    kept = {"sweep_started", "run_proposed", "epoch_finished", "prefix_trained", "run_finished"}
    events = sorted((e for e in lines if e["event"] in kept), key=lambda event: event["time"])
    for event in events:
        event.pop("thresholds", None)
        if "layers" in event:
            event["layers"] = []
    return events


if __name__ == "__main__":
    for event in stripped(Path(sys.argv[1])):
        print(json.dumps(event, separators=(",", ":")))
