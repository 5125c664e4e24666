"""How often an API may be called: a token bucket that learns the account's rate.

AWS publishes few of its rates and shares them between all of an account's programs, so the bucket starts
with a guess and grows with success. At a refusal it falls to what went through since the last one: to a tenth
less at least, so that others find room too, and to half at most. A refusal costs the service nothing, so what
was refused is soon tried again: an account that allows a request a second gives the next one in a second, and
whoever waits for two has lost half of it.
"""

from __future__ import annotations

from dataclasses import dataclass

_GROWTH = 1.0  # of the rate in a second, until the first refusal
_STEP = 0.02  # of the rate that was last refused, in a second, after it
_CALM = 3.0  # seconds without a refusal that double that: the account may have become faster by far
_EASE = 0.9
_LEAST = 0.5
_ALLOWANCE = 1.2  # the rate was rising all the time: on average less went through than could at the end
_FLOOR = 0.05  # requests a second
_BURST = 1.0  # seconds' worth of requests that may come at once
_SLICE = 0.05  # seconds: to wait for less at a time is not worth it
_HARDLY = 1e-6  # of a token: sleeps end when they end, not when arithmetic says so
_RETRY = 0.1  # of the time between two requests that one which was refused waits


@dataclass
class Bucket:
    """One API's. Times are seconds of any one clock.

    :ivar rate: requests a second, at present
    :ivar ceiling: what AWS has published as the most, if it has
    """

    rate: float
    ceiling: float = 10_000.0
    learnt: float = 0.0  # the rate at the last refusal; 0: none yet
    _tokens: float = 1.0
    _at: float | None = None
    _began: float | None = None  # when the rate last fell, or the first request came
    _passed: int = 0  # since then

    def take(self, now: float) -> float:
        """Take a token and return 0; or, if there is none, the seconds after which to ask again.

        One waits at a time, the others for him; and he asks often: a refusal may change what he waits for.
        """
        self._refill(now)
        if self._tokens < 1.0 - _HARDLY:
            return min((1.0 - self._tokens) / self.rate, max(_SLICE, _RETRY / self.rate))
        self._tokens -= 1
        return 0.0

    def succeeded(self) -> None:
        """A request went through: the rate may be higher. In a second, ``rate`` requests say so."""
        calm = 1 + self._passed / (_CALM * self.rate)
        in_a_second = self.learnt * _STEP * calm if self.learnt else self.rate * _GROWTH
        self.rate = min(self.ceiling, self.rate + in_a_second / self.rate)
        self._passed += 1

    def throttled(self, now: float) -> None:
        """A request was refused for its rate. Many at once are one sign."""
        self._refill(now)
        self._tokens = 1.0 - _RETRY
        assert self._began is not None
        since = now - self._began
        if self.learnt and since < max(1.0, 1 / self.rate):
            return
        passed = self._passed / since if since > 0 else 0.0
        self.learnt = self.rate
        self.rate = max(_FLOOR, self.rate * _LEAST, min(self.rate * _EASE, passed * _ALLOWANCE))
        self._began, self._passed = now, 0

    def _refill(self, now: float) -> None:
        self._began = now if self._began is None else self._began
        passed = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now if self._at is None else max(self._at, now)
        self._tokens = min(max(1.0, self.rate * _BURST), self._tokens + passed * self.rate)
