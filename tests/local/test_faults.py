from __future__ import annotations

from typing import Any

import pytest

from smexec.local.faults import KINDS, Fault, Faults
from smexec.local.wire import Operation

CREATE = Operation("sagemaker", "CreateTrainingJob", "json")
PUT = Operation("s3", "PutObject", "s3")


def ordered(*faults: Fault) -> Faults:
    orders = Faults()
    for fault in faults:
        orders.order(fault)
    return orders


def taken(orders: Faults, operation: Operation, text: str = "") -> str | None:
    fault = orders.take(operation, lambda: text)
    return fault.kind if fault else None


def test_a_fault_hits_the_next_requests_of_its_api_and_no_others() -> None:
    orders = ordered(Fault("CreateTrainingJob", "throttle", times=2))
    assert taken(orders, PUT) is None
    assert [taken(orders, CREATE) for _ in range(3)] == ["throttle", "throttle", None]
    assert orders.describe() == []


@pytest.mark.parametrize("pattern", ["PutObject", "s3.PutObject", "s3.*", "Put*", "*"])
def test_an_api_can_be_named_in_several_ways(pattern: str) -> None:
    assert taken(ordered(Fault(pattern, "drop")), PUT) == "drop"


@pytest.mark.parametrize("pattern", ["putobject", "logs.*", "PutObjectTagging", "s3"])
def test_other_names_do_not_match(pattern: str) -> None:
    assert taken(ordered(Fault(pattern, "drop")), PUT) is None


def test_orders_are_carried_out_in_order() -> None:
    orders = ordered(Fault("*", "delay"), Fault("PutObject", "throttle"), Fault("*", "drop"))
    assert [taken(orders, PUT) for _ in range(4)] == ["delay", "throttle", "drop", None]


def test_some_requests_can_go_through_before() -> None:
    orders = ordered(Fault("*", "drop", skip=2))
    assert [taken(orders, PUT) for _ in range(4)] == [None, None, "drop", None]


def test_equal_orders_are_different_orders() -> None:
    orders = ordered(Fault("*", "drop"), Fault("*", "drop"))
    assert [taken(orders, PUT) for _ in range(3)] == ["drop", "drop", None]


def test_a_fault_without_number_lasts_until_it_is_cleared() -> None:
    orders = ordered(Fault("*", "throttle", times=None))
    assert {taken(orders, PUT) for _ in range(50)} == {"throttle"}
    orders.clear()
    assert taken(orders, PUT) is None


def test_a_fault_can_be_for_one_object_only() -> None:
    orders = ordered(Fault("PutObject", "throttle", match="/outcomes/", times=None))
    assert taken(orders, PUT, "/bucket/run/outcomes/7") == "throttle"
    assert taken(orders, PUT, "/bucket/run/batches/7") is None


def test_errors_speak_the_protocol_of_the_api() -> None:
    assert [
        (error.code, error.status)
        for operation in (CREATE, PUT)
        if (error := Fault("*", "expired").error(operation, "1"))
    ] == [
        ("ExpiredTokenException", 400),
        ("ExpiredToken", 400),
    ]
    custom = Fault("*", "error", code="Teapot", message="short and stout", status=418).error(PUT, "1")
    assert custom is not None
    assert (custom.code, custom.message, custom.status) == ("Teapot", "short and stout", 418)


@pytest.mark.parametrize("kind", ["drop", "drop-before", "delay"])
def test_not_every_fault_is_an_answer(kind: str) -> None:
    assert Fault("*", kind).error(PUT, "1") is None


@pytest.mark.parametrize("wrong", [{"kind": "explode"}, {"times": 0}, {"skip": -1}, {"seconds": -1.0}])
def test_orders_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="fault"):
        Fault(**{"operation": "*", "kind": "drop", **wrong})


def test_the_kinds_are_those_that_are_documented() -> None:
    assert {"throttle", "expired", "denied", "internal", "error", "drop", "drop-before", "delay"} == KINDS
