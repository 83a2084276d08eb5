"""The main job in a terminal: `python -m llm_executor_nb`.

Without options it rehearses a column of 200 rows over a chain with a dead key, a rate-limited key and a provider
outage, on practice providers of this machine. With keys, `--prompt` or `--csv` and `--column` run for real.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pandas as pd

import llm_executor_nb as llm
from llm_executor_nb.core.advice import counted
from llm_executor_nb.core.foreign_text import clean, plain
from llm_executor_nb.rehearsal.upstreams import PRICE_USD
from llm_executor_nb.view.text import dollars

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = "gemma"
FAULTS = {
    "openrouter[1]: 401": "The first OpenRouter key is dead.",
    "openrouter[2]: 429@121.. retry-after=60, rate=60/s burst=20": "The second takes 60 requests a second, and after "
    "120 requests none for a minute.",
    "huggingface/nebius: down": "The Hugging Face provider nebius is down.",
}
"""What is wrong with the practice providers: the rules of the script, each in words."""
OUTAGE = "; ".join(FAULTS)
COSTS = {
    "auth": "The dead key cost {}: those under way when it failed first. Then it was asked no more.",
    "rate_limited": "The rate limit cost {}. Those rows waited, or went on to Hugging Face.",
    "connection": "The outage cost {}: those under way when it began, sent twice where the connection was an open one; "
    "then one after each pause.",
}
"""What a fault costs, by its outcome in the log of attempts."""
PRICE = PRICE_USD * 1e6
"""Dollars per million tokens."""
ROWS = 200
_WHAT_TO_ASK = (
    'Say what to ask: --prompt "...", or both --csv FILE and --column COLUMN. Without any option a rehearsal runs.'
)
TOPICS = ("delivery", "price", "quality", "support", "packaging")


def main(arguments: list[str] | None = None) -> int:
    """Run what the arguments ask for; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
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


def _run(options: argparse.Namespace) -> None:
    model = options.model or MODEL
    match (options.prompt, options.csv, options.column):
        case (str(prompt), None, None):
            # a terminal obeys control characters, an answer's too
            print(plain(str(llm.run_llm(model, prompt).text)))
        case (None, Path() as path, str(column)):
            _run_csv(model, path, column)
        case (None, None, None) if options.model is None:
            _rehearse()
        case _:
            raise llm.ConfigError(_WHAT_TO_ASK)


class _Parser(argparse.ArgumentParser):
    """Shows no key that stands in the wrong place."""

    def error(self, message: str) -> NoReturn:
        super().error(clean(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m llm_executor_nb", description=__doc__.split("\n\n", 1)[1])
    parser.add_argument("--model", help=f"a model of the table or its alias (default {MODEL})")
    parser.add_argument("--prompt", help="one prompt; prints the answer")
    parser.add_argument("--csv", type=Path, help="a table with a column of prompts; writes FILE.llm.csv beside it")
    parser.add_argument("--column", help="the column of --csv")
    return parser


def _run_csv(model: str, path: Path, column: str) -> None:
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


def _rehearse() -> None:
    print(f"A rehearsal: {ROWS} rows, practice providers on this machine, no key, no cost.")
    # piped output has the progress in between only if this is written first
    print("\n".join(["What goes wrong, on purpose:", *map(_item, FAULTS.values())]), end="\n\n", flush=True)
    frame = pd.DataFrame(
        {"review": [f"Review {number}: what does it say about {TOPICS[number % 5]}?" for number in range(ROWS)]},
    )
    with llm.rehearse(OUTAGE, latency_s=0.1):
        out = frame.llm.run(MODEL, "review", price=(PRICE, PRICE))
        attempts = llm.attempts()
    head = out[["review_llm", "review_llm_status", "review_llm_route"]].head(3)
    print(f"\nThe first rows of the frame:\n{head.to_string(index=False, max_colwidth=32)}")
    print(f"\nWho was asked, as the log of attempts has it:\n{_by_route(attempts).to_string(index=False)}")
    print("\n".join(["\nWhat it came to:", *map(_item, _story(out["review_llm_status"], attempts))]))
    print(_FOR_REAL)


def _by_route(attempts: pd.DataFrame) -> pd.DataFrame:
    return attempts.groupby(["route", "outcome"], observed=True, sort=False).size().rename("requests").reset_index()


def _story(statuses: pd.Series[str], attempts: pd.DataFrame) -> Iterator[str]:
    """Yield what the faults cost, and what they did not."""
    for outcome, words in COSTS.items():
        rows = attempts.loc[attempts["outcome"] == outcome, "position"]
        if len(rows):
            yield words.format(f"{counted(len(rows), 'request')} of {counted(rows.nunique(), 'row')}")
    lost = int((statuses != "ok").sum())
    yield f"{lost} of {ROWS} rows have no answer." if lost else f"No row was lost: all {ROWS} have an answer."
    cost = f"At {dollars(PRICE)} per million tokens they would have cost {dollars(float(attempts['cost_usd'].sum()))}."
    yield f"Only the {counted(int((attempts['outcome'] == 'ok').sum()), 'answer')} had a price. {cost}"


def _item(text: str) -> str:
    return textwrap.fill(text, 80, initial_indent="  - ", subsequent_indent="    ")


def _counted(statuses: pd.Series[str]) -> str:
    return ", ".join(f"{count:,} {status}" for status, count in statuses.value_counts().items() if count)


_FOR_REAL = """
With real keys:
  export OPENROUTER_API_KEY=...   (and OPENROUTER_KEY_1, OPENROUTER_KEY_2, ...)
  export HF_TOKEN=...             (and HF_TOKEN_1, HF_TOKEN_2, ...)
  python -m llm_executor_nb --prompt "What is the capital of France?"
  python -m llm_executor_nb --model gemma --csv reviews.csv --column review"""


if __name__ == "__main__":
    sys.exit(main())
