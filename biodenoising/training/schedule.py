"""The learning rate as a function of how far a training is: plain arithmetic without torch."""

from __future__ import annotations

import math

from biodenoising.training.settings import ScheduleSettings


def rate_share(schedule: ScheduleSettings, step: int, progress: float) -> float:
    """Return the share of the peak rate at a step; `progress` in [0, 1] is the share of the run."""
    share = _one_cycle(schedule, step, progress, 1 / schedule.start_divisor, 1.0)
    if schedule.hold_from is None or step < schedule.hold_from:
        return share
    if schedule.steps is None:
        return 1.0
    # The annealing starts at what the cosine had reached.
    begun = schedule.hold_from / schedule.steps
    reached = _one_cycle(schedule, schedule.hold_from, begun, 1 / schedule.start_divisor, 1.0)
    return _cosine(reached, 1.0, min((step - schedule.hold_from) / schedule.hold_over, 1.0))


def first_beta(schedule: ScheduleSettings, step: int, progress: float) -> float | None:
    """Return the optimizer's first beta where it goes against the rate, else None."""
    if schedule.momentum is None:
        return None
    low, high = schedule.momentum
    if schedule.hold_from is not None and schedule.steps is not None:
        step, progress = (
            min(step, schedule.hold_from),
            min(progress, schedule.hold_from / schedule.steps),
        )
    up = _warm_up(schedule, step, progress)
    if up < 1:
        return _ramp(schedule, high, low, up)
    return _cosine(low, high, _way_down(schedule, progress))


def _one_cycle(
    schedule: ScheduleSettings, step: int, progress: float, start: float, peak: float
) -> float:
    up = _warm_up(schedule, step, progress)
    down = _cosine(peak, 1 / schedule.final_divisor, _way_down(schedule, progress))
    if schedule.warm_up_share:
        return _ramp(schedule, start, peak, up) if up < 1 else down
    # Warming up by steps goes on under the cosine: how long the run is may not be known in steps.
    return down * _ramp(schedule, start, peak, up)


def _warm_up(schedule: ScheduleSettings, step: int, progress: float) -> float:
    if schedule.warm_up_share:
        return min(progress / schedule.warm_up_share, 1.0)
    return min(step / schedule.warm_up_steps, 1.0) if schedule.warm_up_steps else 1.0


def _way_down(schedule: ScheduleSettings, progress: float) -> float:
    return min(max(progress - schedule.warm_up_share, 0) / (1 - schedule.warm_up_share), 1.0)


def _ramp(schedule: ScheduleSettings, start: float, end: float, share: float) -> float:
    if schedule.warm_up == "cosine":
        return _cosine(start, end, share)
    return start + (end - start) * share


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
