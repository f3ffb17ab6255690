"""Boards and their software, as data with sources."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Module:
    """A module: its smallest memory on sale, which CPU and GPU share, and the builder's share of it."""

    gigabytes: int
    workspace_megabytes: int


MODULES = {
    "orin-nano": Module(4, 512),
    "orin-nx": Module(8, 1024),
    "agx-orin": Module(32, 8192),
}
"""Memory: https://www.nvidia.com/en-us/autonomous-machines/embedded-systems/jetson-orin/. The builder's share is ours,
an eighth to a quarter: while an engine is built, the same memory holds the graph's weights twice."""


@dataclass(frozen=True)
class Release:
    """A release for boards, its TensorRT, and the source."""

    jetpack: str
    tensorrt: str
    source: str


RELEASES = (
    Release("6.2", "10.3", "https://docs.pytorch.org/TensorRT/getting_started/jetpack.html"),
    Release("7.2", "10.16", "Seeed Studio's guide to GR00T on Orin boards, with Jetson Linux R39.2"),
)

LEAST = {20: "10.0", 21: "10.9"}
"""First TensorRT whose parser is documented to take an opset: 10.0 takes 9 to 20, 10.9 takes 9 to 22. See
https://kvynlim.github.io/industry-research/20-av-platform/compute/tensorrt-deployment-guide."""


def jetpack_for(tensorrt: str) -> str:
    """Returns the first of ``RELEASES`` that has this version."""
    wanted = [int(part) for part in tensorrt.split(".")]
    return next(one.jetpack for one in RELEASES if [int(part) for part in one.tensorrt.split(".")] >= wanted)
