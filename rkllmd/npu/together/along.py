"""Which waiting jobs go along with the one whose turn it is, in one call of C. Decides only.

A language model that was loaded with n_batch n serves n prompts at once. What has to be equal for that, each job says
by its key (``Together``), which means nothing here.

Whoever goes along comes before others that wait, which then wait for the longest of several runs. So a job goes along
only behind others that may too, that belong to its own or a lower level of priority, or that have not waited for long.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rkllmd.npu.job import Job

# A call that has waited for so long is not overtaken any more.
PATIENCE_SECONDS: Final = 1.0


def along(first: Job, waiting: Iterable[Job], now: float) -> list[Job]:
    """Return the jobs that go along with ``first``; ``waiting``: the others, in the order of their turns."""
    together = first.together
    found: list[Job] = []
    stays: list[Job] = []  # those that are overtaken
    for job in waiting:
        if together is None or len(found) + 1 >= together.places:
            break
        if stays and job.priority != stays[0].priority:  # the levels come one after the other
            break
        fits = job.together is not None and job.together.key == together.key
        if fits and all(other.client != job.client for other in stays):
            found.append(job)
        elif now - job.queued_at > PATIENCE_SECONDS:
            break
        else:
            stays.append(job)
    return found
