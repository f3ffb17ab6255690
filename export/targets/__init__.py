"""Targets by the name that ``--target`` takes. One target is one folder beside this file and one line here."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets.coreai.target import TARGET as COREAI
from phantom_edge.export.targets.coreml.target import TARGET as COREML
from phantom_edge.export.targets.executorch.target import TARGET as EXECUTORCH
from phantom_edge.export.targets.jetson.target import TARGET as JETSON
from phantom_edge.export.targets.litert.target import TARGET as LITERT
from phantom_edge.export.targets.onnx.target import TARGET as ONNX
from phantom_edge.export.targets.qnn.target import TARGET as QNN
from phantom_edge.export.targets.target import Options, Target, check_choice, flag_of
from phantom_edge.export.targets.web.target import TARGET as WEB
from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.foundation.typed import WrongJson, from_json

TARGETS: dict[str, Target] = {
    "onnx": ONNX,
    "coreml": COREML,
    "coreai": COREAI,
    "executorch": EXECUTORCH,
    "jetson": JETSON,
    "qnn": QNN,
    "web": WEB,
    "litert": LITERT,
}


def target_named(name: str) -> Target:
    """Returns the target of this name. Raises EdgeError for an unknown one."""
    if name not in TARGETS:
        raise UsageError(f"there is no target '{name}'", f"choose from: {', '.join(TARGETS)}")
    return TARGETS[name]


def target_of(bundle: Bundle) -> Target:
    """Returns a bundle's target. Raises EdgeError where its facts are damaged, or its target is unknown."""
    name = bundle.manifest.target
    if name not in TARGETS:
        raise EdgeError(
            f"{bundle.path} is for target {name}, which nothing here runs",
            f"use a bundle for one of: {', '.join(TARGETS)}",
        )
    target = TARGETS[name]
    if target.facts is not None:
        bundle.facts(target.facts)
    return target


def forms_of(bundle: Bundle) -> dict[str, Bundle]:
    """Returns the forms of a bundle's parts by their names, or the bundle itself, without a name, where it has one."""
    found = target_of(bundle).forms
    return {"": bundle} if found is None else dict(found(bundle))


def caution_of(bundle: Bundle) -> str:
    """Returns the warning to show after a bundle ran here, or ""."""
    facts = target_of(bundle).facts
    return "" if facts is None else str(bundle.facts(facts).caution())


def options_of(target: Target, given: Mapping[str, Any]) -> Options:
    """The target's options with what was ``given``, by their names.

    Raises EdgeError for an impossible value, and for a flag that is another target's, naming that.
    """
    own = {one.name: one for one in fields(target.options)}
    for name in given:
        if name not in own:
            owners = [one for one in TARGETS.values() if name in {known.name for known in fields(one.options)}]
            if not owners:
                raise UsageError(
                    f"no target has an option '{name}'", f"give {', '.join(own)}" if own else "leave it out"
                )
            about = next(one.metadata for one in fields(owners[0].options) if one.name == name)
            raise UsageError(
                f"{flag_of(name, about)} is for target {' and '.join(one.name for one in owners)}, not {target.name}",
                f"leave it out, or give --target {owners[0].name}",
            )
        check_choice(name, own[name].metadata, given[name])
    try:
        return from_json(target.options, dict(given), "options")
    except WrongJson as error:
        raise EdgeError(str(error), "see: phantom-edge export --help") from None
