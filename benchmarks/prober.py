"""The process in which one subject's behaviour is tried: answers the name of a question with what was seen."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Callable
from typing import Any

from .children import SubjectError, answering, describe
from .probes import QUESTIONS, Seen
from .subjects import Subject


def make(job: dict[str, Any]) -> Callable[[str], object]:
    """Return what tries one question on the subject of the job."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    subject = Subject.load(**job)

    def answer(question: str) -> object:
        try:
            seen = QUESTIONS[question].probe(subject)
        except SubjectError:
            return None
        except BaseException as error:
            seen = Seen(well=False, says=describe(error).partition(":")[0])
        return dataclasses.asdict(seen)

    return answer


if __name__ == "__main__":
    answering(make)
