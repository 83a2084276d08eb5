"""The main job in a terminal: `python -m llm_executor_nb`.

Without options it rehearses a column of 200 rows over a chain with a dead key, a rate-limited key and a provider
outage, on practice providers of this machine. With keys, `--prompt` or `--csv` and `--column` run for real.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

import pandas as pd

import llm_executor_nb as llm
from llm_executor_nb.core.foreign_text import clean, plain

MODEL = "gemma"
OUTAGE = "openrouter[1]: 401; openrouter[2]: 429@121.. retry-after=60, rate=60/s burst=20; huggingface/nebius: down"
ROWS = 200
TOPICS = ("delivery", "price", "quality", "support", "packaging")


def main(arguments: list[str] | None = None) -> int:
    """Run what the arguments ask for; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.prompt is not None:
            # a terminal obeys control characters, an answer's too
            print(plain(str(llm.run_llm(options.model, options.prompt).text)))
        elif options.csv is not None or options.column is not None:
            _run_csv(options.model, options.csv, options.column)
        else:
            _rehearse(options.model)
    except llm.LLMExecutorError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        place = clean(str(error.filename or ""))
        print(f"{place}: {error.strerror or clean(str(error))}. Give the path of a CSV file.", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print(error, file=sys.stderr)
        return 130
    return 0


class _Parser(argparse.ArgumentParser):
    """Shows no key that stands in the wrong place."""

    def error(self, message: str) -> NoReturn:
        super().error(clean(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m llm_executor_nb", description=__doc__.split("\n\n", 1)[1])
    parser.add_argument("--model", default=MODEL, help="a model of the table or its alias (default %(default)s)")
    parser.add_argument("--prompt", help="one prompt; prints the answer")
    parser.add_argument("--csv", type=Path, help="a table with a column of prompts; writes FILE.llm.csv beside it")
    parser.add_argument("--column", help="the column of --csv")
    return parser


def _run_csv(model: str, path: Path | None, column: str | None) -> None:
    if path is None or column is None:
        raise llm.ConfigError("Give both: --csv FILE --column COLUMN.")
    target = path.with_suffix(".llm.csv")
    try:
        out = pd.read_csv(path).llm.run(model, column)
    except llm.JobInterrupted as stopped:
        # design 6: an interrupt keeps what was paid for
        stopped.result.to_csv(target, index=False)
        print(f"What was done is in {target}.")
        raise
    out.to_csv(target, index=False)
    print(f"{_counted(out[f'{column}_llm_status'])}\nWritten to {target}")


def _rehearse(model: str) -> None:
    print(f"A rehearsal on this machine: no key is used, nothing is spent.\nThe script: {OUTAGE}\n")
    frame = pd.DataFrame(
        {"review": [f"Review {number}: what does it say about {TOPICS[number % 5]}?" for number in range(ROWS)]},
    )
    with llm.rehearse(OUTAGE, latency_s=0.1):
        out = frame.llm.run(model, "review")
        attempts = llm.attempts()
    print(f"\nThe frame's head:\n{_wide(out.head(5))}")
    counts = attempts.groupby(["route", "outcome"], observed=True).size().rename("attempts").reset_index()
    print(f"\nAttempts by route and outcome:\n{counts.to_string(index=False)}")
    print(f"\nRows: {_counted(out['review_llm_status'])}")
    print(_FOR_REAL)


def _counted(statuses: pd.Series[str]) -> str:
    return ", ".join(f"{count} {status}" for status, count in statuses.value_counts().items() if count)


def _wide(frame: pd.DataFrame) -> str:
    return frame.to_string(index=False, max_colwidth=44)


_FOR_REAL = """
With real keys:
  export OPENROUTER_API_KEY=...   (and OPENROUTER_KEY_1, OPENROUTER_KEY_2, ...)
  export HF_TOKEN=...             (and HF_TOKEN_1, HF_TOKEN_2, ...)
  python -m llm_executor_nb --model gemma --prompt "What is the capital of France?"
  python -m llm_executor_nb --model gemma --csv reviews.csv --column review"""


if __name__ == "__main__":
    sys.exit(main())
