"""Every operation computes what coremltools' own value inference does, or, where it has none, what torch does."""

from typing import Any

import numpy as np
import pytest
import torch
from mil_operation_cases import Case, cases, floats, t, whole
from mil_reference_cases import without_oracle

pytest.importorskip("coremltools")

from mil_programs import FP16, FP32, INT32, TARGETS, function, mb, mil, only, package, save, types

from phantom_edge.export.interpreters.mil import OPS, Interpreter, Package
from phantom_edge.foundation.errors import EdgeError

RELATIVE = 2e-6
"""Float32 on both sides, sums in another order."""


CASES = [*cases(), *without_oracle()]


def outputs(case: Case) -> tuple[Any, ...]:
    found = getattr(mb, case.op)(**case.inputs)
    return tuple(found) if isinstance(found, tuple | list) else (found,)


def _returned(var: Any) -> Any:
    """As something that a Core ML function can return."""
    return var if var.dtype in (types.fp32, types.int32) else mb.cast(x=var, dtype="int32")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Of every case: what the interpreter computed, and what coremltools inferred, None where it does not."""
    found = {}
    for ios in TARGETS:
        chosen = [number for number, case in enumerate(CASES) if case.ios == ios]
        inferred, names = {}, {}

        def body(go, chosen=chosen, inferred=inferred, names=names):
            returned = [go]
            for number in chosen:
                made = outputs(CASES[number])
                inferred[number] = [var.val for var in made]
                kept = [_returned(var) for var in made]
                names[number] = [var.name for var in kept]
                returned += kept
            return [mb.identity(x=go, name="went"), *returned[1:]]

        made = save(
            tmp_path_factory.mktemp("mil") / f"{ios}.mlpackage",
            {"main": function({"go": ((1,), FP32)}, body, ios)},
            ios,
        )
        computed = Interpreter(Package.open(made)).run({"go": torch.zeros(1)})
        for number in chosen:
            found[number] = ([computed[name] for name in names[number]], inferred[number])
    return found


@pytest.mark.parametrize("number", range(len(CASES)), ids=[str(case) for case in CASES])
def test_operation(results, number: int) -> None:
    case = CASES[number]
    computed, inferred = results[number]
    if case.expected is not None:
        given = {
            key: t(value) if isinstance(value, np.ndarray | np.generic) else value for key, value in case.inputs.items()
        }
        inferred = [case.expected(**given).numpy()]
    assert len(computed) == len(inferred)
    for ours, theirs in zip(computed, inferred, strict=True):
        assert theirs is not None, "coremltools infers no value: give the case an expected one"
        wanted = torch.from_numpy(np.array(theirs)).to(ours.dtype)
        torch.testing.assert_close(ours, wanted, rtol=RELATIVE, atol=RELATIVE)


def has_oracle(op: str) -> bool:
    """Whether a version of the operation infers values."""
    registry = mil.ops.registry.SSAOpRegistry.core_ops
    base = mil.operation.Operation
    return any(
        "value_inference" in one.__dict__
        for kind in set(registry.get(op, {}).values())
        for one in kind.__mro__
        if one not in (base, object)
    )


STATES = {"read_state", "write_state"}
"""Proved by test_states: they have no inputs that could be constant."""


def test_every_operation_has_a_case() -> None:
    inferred = {case.op for case in CASES if case.expected is None}
    referred = {case.op for case in CASES if case.expected is not None}
    assert set(OPS) == inferred | referred | STATES
    assert {op for op in OPS if not has_oracle(op)} <= referred | STATES


def test_states(tmp_path) -> None:
    def body(x, memory):
        old = mb.read_state(input=memory)
        new = mb.coreml_update_state(state=memory, value=mb.add(x=old, y=x))
        return [mb.mul(x=new, y=np.float16(2), name="doubled"), mb.identity(x=old, name="old")]

    made = package(tmp_path / "p.mlpackage", {"x": ((3,), FP16)}, body, states={"memory": ((3,), FP16)})
    (state,) = made.functions["main"].states
    assert (state.name, state.dtype, state.shape) == ("memory", "float16", (3,))
    interpreter = Interpreter(made)
    states = interpreter.states()
    for turn in (1.0, 2.0):
        found = interpreter.run({"x": torch.ones(3)}, states)
        assert found["doubled"].tolist() == [2 * turn] * 3
        assert found["old"].tolist() == [turn - 1] * 3
        assert states["memory"].tolist() == [turn] * 3
    with pytest.raises(EdgeError, match="needs state 'memory'"):
        interpreter.run({"x": torch.ones(3)})


def test_constants_and_inputs_returned(tmp_path) -> None:
    constant = floats(2, 3)
    made = package(tmp_path / "p.mlpackage", {"x": ((2,), FP32)}, lambda x: [mb.const(val=constant, name="c"), x])
    found = Interpreter(made).run({"x": torch.ones(2)})
    assert torch.equal(found["c"], t(constant)) and torch.equal(found["x"], torch.ones(2))


def test_dynamic_slice_and_its_limits(tmp_path) -> None:
    def body(x, update, start):
        end = mb.add(x=start, y=np.int32(2))
        begin = mb.concat(values=[whole(0), start], axis=0)
        return mb.slice_update(x=x, update=update, begin=begin, end=mb.concat(values=[whole(1), end], axis=0))

    ports = {"x": ((1, 5), FP32), "update": ((1, 2), FP32), "start": ((1,), INT32)}
    interpreter = Interpreter(package(tmp_path / "p.mlpackage", ports, body))

    def at(start: int) -> list[float]:
        given = {"x": torch.zeros(1, 5), "update": torch.ones(1, 2), "start": torch.tensor([start], dtype=torch.int32)}
        return only(interpreter.run(given)).flatten().tolist()

    assert at(1) == [0, 1, 1, 0, 0]
    with pytest.raises(EdgeError, match=r"slice_update .* reaches outside 5"):
        at(4)


def test_modes_round_where_they_say(tmp_path) -> None:
    def body(x):
        return mb.sub(x=mb.add(x=x, y=np.float16(2048)), y=np.float16(2048))

    made = package(tmp_path / "p.mlpackage", {"x": ((2,), FP16)}, body)
    x = {"x": torch.tensor([1.0, 0.3])}
    assert only(Interpreter(made).run(x)).tolist() == pytest.approx([1, 0.3], abs=2e-4)
    assert only(Interpreter(made, mode="fp16").run(x)).tolist() == [0, 0]
    with pytest.raises(EdgeError, match="mode 'half'"):
        Interpreter(made, mode="half")  # type: ignore[arg-type]


@pytest.mark.parametrize("op", ["softmax", "layer_norm", "gelu", "reduce_sum", "reduce_log_sum_exp", "l2_norm"])
def test_strict_is_near_exact(tmp_path, op: str) -> None:
    more = {"softmax": {}, "gelu": {}, "l2_norm": {}, "layer_norm": {"axes": whole(-1)}}
    shape = (1, 3, 100)
    made = package(
        tmp_path / "p.mlpackage",
        {"x": (shape, FP16)},
        lambda x: getattr(mb, op)(x=x, **more.get(op, {"axes": whole(-1)})),
    )
    x = {"x": torch.from_numpy(floats(*shape)).half().float()}
    exact, strict = (only(Interpreter(made, mode=mode).run(x)) for mode in ("exact", "strict"))
    assert not torch.equal(exact, strict)
    assert torch.equal(strict, strict.half().float())
    # At most a dozen roundings, each within 2^-11 of the largest number on the way.
    assert (exact - strict).abs().max() <= 12 * 2**-11 * max(1.0, float(exact.abs().max()))
