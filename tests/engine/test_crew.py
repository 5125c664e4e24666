from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import anyio
import pytest

from smexec.aws.client import Client
from smexec.core.market import Trail
from smexec.core.packing import Kind
from smexec.core.run import Run
from smexec.core.settings import Settings
from smexec.core.work import Call, Function, Pickled
from smexec.engine.crew import Crew
from smexec.engine.flight import Flight, Passenger, Ticket
from smexec.engine.place import Ground

CALL = Call(Function("f", [b"f"], {}), Pickled([b"arguments"], []), Settings(), Kind("test"))
TRAIL = Trail.begin(CALL.settings)


@pytest.mark.parametrize("end", [Crew.withdraw, Crew.stop])
def test_what_comes_while_a_call_is_landing_costs_its_neighbours_nothing(
    end: Callable[[Crew, Ticket], None],
) -> None:
    async def main() -> Flight:
        landing, other = (Passenger(CALL, Future(), Ticket()) for _ in range(2))
        flight = Flight.board("job", CALL, [landing, other], TRAIL, TRAIL.left[0])
        aboard = {passenger.ticket: passenger for passenger in (landing, other)}
        crew = Crew(Client(None, None), Ground(None), Run(), 1, aboard, lambda _: None)
        flight.leave(landing.number)
        landing.future.cancel()
        end(crew, landing.ticket)
        return flight

    flight = anyio.run(main)
    assert flight.is_wanted
    assert not flight.stop_wanted
