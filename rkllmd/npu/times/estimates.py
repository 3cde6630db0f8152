"""How long calls still take and wait, estimated from earlier calls of the kind and from the run that is on.

The time of a generation is the time to its first token plus that of the tokens after it. The speed of the run that is
on can be seen now, and is expected of the waiting calls on the same model too: a board gets slower when it is hot, a
computer when it is busy, and then the runs of yesterday say little. A call for a model that sleeps takes the time of
its load beside that.
"""

from __future__ import annotations

from typing import Final

from rkllmd.abi.layouts.rkllm import RKLLMInferMode
from rkllmd.npu.job import Generating, Job
from rkllmd.npu.times.durations import Durations
from rkllmd.npu.turns import Lasts
from rkllmd.quick_dataclass import dataclass

# These take the place of a method in the durations: the time of a run to its first token, that of each further token,
# how many tokens an answer had (which is no time), and the load of a language model, whichever call it was for.
FIRST_TOKEN: Final = "first_token"
TOKEN: Final = "token"
TOKENS: Final = "tokens"
LOAD: Final = "load"
# What has taken longer than ever before is expected to take half as long again: the longer something has lasted, the
# longer it will last. So as long as it goes on, its end is never expected at once.
_BEYOND: Final = 0.5
_GENERATE: Final = int(RKLLMInferMode.RKLLM_INFER_GENERATE)


@dataclass(frozen=True, slots=True)
class Pace:
    """What is known of a model's runs, in milliseconds; None for what was never seen."""

    first_token: float | None = None
    token: float | None = None
    tokens: float | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a generation is; ``first_token`` and ``last_token``: when they came, in milliseconds since its beginning.

    ``most_tokens``: after how many it ends at the latest; 0: no limit.
    """

    elapsed: float
    tokens: int = 0
    first_token: float = 0.0
    last_token: float = 0.0
    most_tokens: int = 0


def left(expected: float, done: float) -> float:
    """Return how much of something is left when ``done`` of the ``expected`` is over."""
    return max(expected - done, done * _BEYOND)


def pace_now(pace: Pace, run: Progress) -> Pace:
    """Return the pace of a model while this run of it is on: the time of a token is the one that is seen now."""
    if run.tokens == 0:
        return pace
    waited = run.elapsed - run.last_token
    token = pace.token
    if run.tokens > 1:
        token = (run.last_token - run.first_token) / (run.tokens - 1)
    if token is None or waited > token:  # the next one is late, and so will be those after it
        token = (run.elapsed - run.first_token) / run.tokens
    return Pace(pace.first_token, token, pace.tokens)


def of_run(pace: Pace, most_tokens: int) -> float | None:
    """Return how long a run takes that has not begun yet; None if that is not known."""
    steps = _steps(pace, 1, most_tokens)
    if pace.first_token is None or steps is None:
        return None
    if steps == 0:
        return pace.first_token
    return None if pace.token is None else pace.first_token + steps * pace.token


def left_of_run(pace: Pace, run: Progress) -> float | None:
    """Return how long the run still takes, by the ``pace_now`` of its model; None if that is not known."""
    if run.tokens == 0:
        whole = of_run(pace, run.most_tokens)
        if whole is None or pace.first_token is None:
            return None
        return left(pace.first_token, run.elapsed) + whole - pace.first_token
    steps = _steps(pace, run.tokens, run.most_tokens)
    if steps is None or pace.token is None:
        return None
    of_next = min(run.elapsed - run.last_token, pace.token)  # a part of the next token's time is over
    return max(0.0, steps * pace.token - of_next)


def _steps(pace: Pace, done: int, most: int) -> float | None:
    """Return how many tokens a run still makes after ``done`` of them.

    It makes as many as usual, and never more than it may. If it ends by itself, its end is a token too, which nobody
    sees.
    """
    allowed = max(0, most - done) if most > 0 else None
    if pace.tokens is None:
        return allowed
    expected = left(pace.tokens, done) + 1
    return expected if allowed is None else min(expected, allowed)


# -- of the calls of the daemon ----------------------------------------------------------------------------------------


def learn(durations: Durations, model: str, generation: Generating) -> None:
    """Note how fast a run of the model at this path was, and how long its answer was, unless it was cut short."""
    first_at, tokens = generation.first_token_at, generation.tokens
    if first_at is None:
        return
    durations.add(FIRST_TOKEN, model, (first_at - generation.started_at) * 1000)
    if generation.mode != _GENERATE:
        return
    if tokens > 1:
        durations.add(TOKEN, model, max(0.0, generation.last_at - first_at) * 1000 / (tokens - 1))
    if not generation.abort_requested and not generation.paused:
        durations.add(TOKENS, model, tokens)


def lasts(durations: Durations, running: Job | None, now: float) -> Lasts:
    """Return what tells how long each waiting job takes, by what is seen of the running one too."""
    paces: dict[str, Pace] = {}
    if running is not None and running.most_tokens is not None:
        paces[_file(running)] = pace_now(_pace(durations, _file(running)), _progress(running, now))

    def of(job: Job, loads: bool) -> float | None:
        load = _load(durations, job) if loads else 0.0
        if _is_load(job):
            return load
        rest = _of_waiting(durations, job, paces)
        return None if load is None or rest is None else load + rest

    return of


def remaining(durations: Durations, running: Job | None, now: float) -> float | None:
    """Return how long the running job still takes, in milliseconds; 0 if none runs, None if that is not known."""
    if running is None:
        return 0.0
    elapsed = (now - running.since) * 1000
    if running.load is None and getattr(running.target, "is_asleep", False):  # it waits for the load of its model
        load, rest = _load(durations, running), _of_waiting(durations, running, {})
        return None if load is None or rest is None else left(load, elapsed) + rest
    if running.most_tokens is not None:
        run = _progress(running, now)
        found = left_of_run(pace_now(_pace(durations, _file(running)), run), run)
        if found is not None:
            return found
    expected = _whole(durations, running)
    return None if expected is None else left(expected, elapsed)


def known_load(durations: Durations, job: Job) -> float | None:
    """Return how long loads of the very model have taken that the job loads; None if there was none."""
    return durations.known(_what(job), _file(job))


def _load(durations: Durations, job: Job) -> float | None:
    return durations.expect(LOAD, _file(job))


def _whole(durations: Durations, job: Job) -> float | None:
    """Return how long a call takes as a whole, of which nothing is known but its method and file."""
    return durations.expect(_what(job), _file(job) if _is_load(job) else job.model_name)


def _what(job: Job) -> str:
    # rkllm.init may also find the model loaded, which takes no time, so that its own mean says little.
    return LOAD if _is_load(job) else job.method


def _is_load(job: Job) -> bool:
    """Return whether the call loads a language model, and does nothing else."""
    return job.load is not None and job.arrives is not None


def _of_waiting(durations: Durations, job: Job, paces: dict[str, Pace]) -> float | None:
    expected = None
    if job.most_tokens is not None:
        file = _file(job)
        expected = of_run(paces.get(file) or _pace(durations, file), job.most_tokens)
    return _whole(durations, job) if expected is None else expected


def _pace(durations: Durations, model: str) -> Pace:
    return Pace(*(durations.expect(what, model) for what in (FIRST_TOKEN, TOKEN, TOKENS)))


def _file(job: Job) -> str:
    # model_name is empty if the model was not known before the job's turn, and of a load it may be a link.
    target = job.arrives().target if job.arrives is not None and _is_load(job) else job.target
    loaded = target if isinstance(target, str) else getattr(target, "path", None)
    return str(loaded or job.model_name)


def _progress(job: Job, now: float) -> Progress:
    generation = job.generation
    most = job.most_tokens or 0
    if generation is None or generation.first_token_at is None:  # the model is being loaded again, or reads its prompt
        began = job.since if generation is None else generation.started_at
        return Progress((now - began) * 1000, most_tokens=most)
    began = generation.started_at
    first, last = ((at - began) * 1000 for at in (generation.first_token_at, generation.last_at))
    return Progress((now - began) * 1000, max(1, generation.tokens), first, max(first, last), most)
