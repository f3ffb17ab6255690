"""docs/android.md: its Kotlin compiles against Android and the library, and its versions are those that are tested."""

import re
from pathlib import Path

import pytest
from other_languages import ANDROID_PAGE, android_versions, kotlin_blocks

PAGE = ANDROID_PAGE.read_text(encoding="utf-8")


@pytest.mark.slow
def test_all_kotlin_of_the_page_compiles(kotlin_library: Path) -> None:
    """Each block is a file; what it declares is among the classes."""
    classes = kotlin_library / "target/classes/com/example/phantom"
    names = {path.name for path in classes.glob("*.class")}
    assert len(kotlin_blocks()) >= 2 and "MainActivity.class" in names
    for number, block in enumerate(kotlin_blocks()):
        assert block.startswith("package com.example.phantom\n")
        if re.search(r"^(suspend )?fun ", block, re.MULTILINE):
            assert f"Page{number}Kt.class" in names


def test_the_steps_agree() -> None:
    """Versions with the poms; the bundle's name with what is exported, copied and opened."""
    versions = android_versions()
    assert f'onnxruntime-android:{versions["onnxruntime.version"]}"' in PAGE
    assert f'kotlinx-coroutines-android:{versions["coroutines.version"]}"' in PAGE
    exported = re.findall(r"phantom-edge export .* --out (\S+)", PAGE)
    assert re.findall(r'unpacked\("([^"]+)"\)', PAGE) == exported and f"the folder `{exported[0]}`" in PAGE
    (jar,) = set(re.findall(r"phantom-[\d.]+\.jar", PAGE))
    pom = (ANDROID_PAGE.parents[1] / "apps/android/phantom/pom.xml").read_text(encoding="utf-8")
    artifact, version = re.findall(r"<artifactId>([^<]+)<", pom)[1], re.findall(r"<version>([^<]+)<", pom)[0]
    assert jar == f"{artifact}-{version}.jar"
