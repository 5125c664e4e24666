"""How often an API may be called: a token bucket that learns the account's rate.

AWS publishes few of its rates and shares them between all of an account's programs, so the bucket starts
with a guess, grows with success and halves at each throttling (as TCP does).
"""

from __future__ import annotations

from dataclasses import dataclass

_GROWTH = 1.0  # of the rate in a second, until the first throttling
_STEP = 0.05  # of the rate that was last throttled, in a second, after it
_FLOOR = 0.05  # requests a second
_BURST = 1.0  # seconds' worth of requests that may come at once


@dataclass
class Bucket:
    """One API's. Times are seconds of any one clock.

    :ivar rate: requests a second, at present
    :ivar ceiling: what AWS has published as the most, if it has
    """

    rate: float
    ceiling: float = 10_000.0
    learnt: float = 0.0  # the rate at the last throttling; 0: none yet
    _tokens: float = 1.0
    _at: float | None = None
    _halved_at: float = float("-inf")

    def take(self, now: float) -> float:
        """Take a token; the seconds to wait before using it."""
        self._refill(now)
        self._tokens -= 1
        return max(0.0, -self._tokens / self.rate)

    def succeeded(self) -> None:
        """A request went through: the rate may be higher. In a second, ``rate`` requests say so."""
        in_a_second = self.learnt * _STEP if self.learnt else self.rate * _GROWTH
        self.rate = min(self.ceiling, self.rate + in_a_second / self.rate)

    def throttled(self, now: float) -> None:
        """A request was refused for its rate. Many at once are one sign: the rate halves once a second."""
        self._refill(now)
        self._tokens = min(self._tokens, 0.0)
        if now - self._halved_at >= 1.0:
            self._halved_at = now
            self.learnt = self.rate
            self.rate = max(_FLOOR, self.rate / 2)

    def _refill(self, now: float) -> None:
        passed = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now if self._at is None else max(self._at, now)
        self._tokens = min(max(1.0, self.rate * _BURST), self._tokens + passed * self.rate)
