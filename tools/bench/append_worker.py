"""One of several processes that append at the same time: `python append_worker.py ROOT HOME COUNT`.

Appends once to open everything, says so with an empty line, waits until standard input ends, which it does for all
workers at once, and then times each of COUNT appends.  Event n has `inference_time_ms` n, so that with its run id each
can be told apart.  Last it prints {"run": run id, "kept": number that `record` answered True to, "ns": [...]}.
"""

import json
import sys
from time import perf_counter_ns

from carojournal import Journal

__all__ = ["main"]


def main(root: str, home: str, count: int) -> None:
    """Append, and print what is described above."""
    journal = Journal.open(root, environ={"HOME": home}, admin="/nonexistent")
    fields = {
        "backend_used": "ollama",
        "safety_result": {"risk_level": "safe", "patterns_matched": 0},
        "model_name": "llama3:8b",
        "success": True,
        "input_token_count": 120,
        "output_token_count": 33,
        "confidence_score": 0.91,
        "retry_count": 0,
    }
    journal.append("session_start", caro_version="1.1.0", os="linux")
    journal.append("command_generated", inference_time_ms=count, **fields)
    print(flush=True)
    sys.stdin.read()
    taken, kept = [], 0
    for number in range(count):
        started = perf_counter_ns()
        kept += journal.record("command_generated", inference_time_ms=number, **fields)
        taken.append(perf_counter_ns() - started)
    json.dump({"run": journal.run_id, "kept": kept, "ns": taken}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
