"""Build the demo app's APK without Google's hosts: Maven, dx, Debian's aapt2 and apksigner.

    python scripts/apk.py [--aar onnxruntime-android.aar] [--bundle FOLDER] [--out FILE]

ONNX Runtime's libraries for phones come from the AAR. Without it the APK has none, and its first screen says so.
"""

import argparse
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from apk_layout import PAGE, add, loads, misaligned

from phantom_edge.foundation.errors import EdgeError

ROOT = Path(__file__).resolve().parents[1]
ABIS = ("arm64-v8a", "x86_64")
LEAST_ANDROID = 26
PASSWORD = "android"
"""A debug key's, as Android Studio's own: the key is made at the build, for this build."""


def run(words: list[str], problem: str, remedy: str) -> str:
    """The output of a command. Raises EdgeError with its last words where it fails."""
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    if ran.returncode:
        last = (ran.stdout + ran.stderr).strip().splitlines()[-1:]
        raise EdgeError(f"{problem}: {' '.join(last)}", remedy)
    return ran.stdout


def check_tools() -> None:
    """Raises EdgeError where a tool is missing."""
    packages = {"mvn": "maven", "java": "a JDK", "keytool": "a JDK", "aapt2": "aapt", "apksigner": "apksigner"}
    absent = [tool for tool in packages if shutil.which(tool) is None]
    if absent:
        names = " ".join(dict.fromkeys(packages[tool] for tool in absent))
        raise EdgeError(f"not on PATH: {', '.join(absent)}", f"install them; on Debian: apt-get install {names}")


def compile_app(android: Path, onnxruntime: Path | None) -> Path:
    """Classes, resources and libraries of the app; returns its build folder."""
    words = ["mvn", "-q", "-B", "-f", str(android / "pom.xml"), "-Papk", "process-classes"]
    if onnxruntime is not None:
        words.append(f"-Dapk.onnxruntime={onnxruntime}")
    run(words, "Maven does not compile the app", f"see its own words: {' '.join(words)}")
    return android / "app" / "target"


def classes_of_aar(aar: Path, desk: Path) -> Path:
    """The classes of ONNX Runtime's AAR. Raises EdgeError for another file."""
    try:
        with zipfile.ZipFile(aar) as archive:
            names = archive.namelist()
            absent = [abi for abi in ABIS if not any(name.startswith(f"jni/{abi}/") for name in names)]
            if "classes.jar" not in names or absent:
                raise EdgeError(
                    f"{aar} has no classes.jar or no libraries for {', '.join(absent) or 'any phone'}",
                    "give the AAR of com.microsoft.onnxruntime:onnxruntime-android",
                )
            return Path(archive.extract("classes.jar", desk))
    except (OSError, zipfile.BadZipFile) as error:
        raise EdgeError(
            f"{aar} cannot be read ({error})", "give the AAR of com.microsoft.onnxruntime:onnxruntime-android"
        ) from None


def dex(target: Path, desk: Path) -> Path:
    """The folder that holds the classes for Android and the resources of the libraries. Raises EdgeError."""
    inputs = target / "desugared"
    for path in inputs.rglob("*.class"):
        if b"java/lang/invoke/LambdaMetafactory" in path.read_bytes():
            raise EdgeError(
                f"{path} calls what Android has not: LambdaMetafactory", "see tools/Desugar.java, which removes it"
            )
    out = desk / "dex"
    out.mkdir()
    (dx,) = (target / "tools").glob("dalvik-dx-*.jar")
    words = ["java", "-Xmx1g", "-cp", str(dx), "com.android.dx.command.Main", "--dex", "--multi-dex"]
    words += [f"--min-sdk-version={LEAST_ANDROID}", f"--output={out}", str(inputs)]
    run(words, "dx does not take the classes", "report it with the list of the classes' versions")
    for path in inputs.rglob("*"):
        if path.is_file() and path.suffix != ".class":
            place = out / path.relative_to(inputs)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
    return out


def pack_bundle(bundle: Path | None, desk: Path) -> Path:
    """The zip of the bundle inside the app: nano in float16, exported now, unless another one is given."""
    if bundle is None:
        bundle = desk / "nano"
        words = [sys.executable, "-m", "phantom_edge", "export", "nano", "--target", "onnx"]
        words += ["--weights", "fp16", "--out", str(bundle)]
        run(words, "nano cannot be exported", f"see its own words: {' '.join(words)}")
    if not (bundle / "phantom.json").is_file():
        raise EdgeError(f"{bundle} is no bundle", "give a folder that phantom-edge export --target onnx wrote")
    packed = desk / "nano.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(bundle).as_posix())
    return packed


def libraries(aar: Path | None) -> Iterator[tuple[str, bytes]]:
    """ONNX Runtime's native libraries, by their names in the APK."""
    if aar is None:
        return
    with zipfile.ZipFile(aar) as archive:
        for name in archive.namelist():
            if name.endswith(".so") and name.split("/")[1] in ABIS:
                yield f"lib/{name.removeprefix('jni/')}", archive.read(name)


def assemble(target: Path, dexed: Path, packed: Path, aar: Path | None, out: Path) -> None:
    """An unsigned APK whose native libraries begin at pages of 16 KB, so that Android maps them where they are."""
    with zipfile.ZipFile(target / "resources.apk") as resources, zipfile.ZipFile(out, "w") as apk:
        for item in resources.infolist():
            add(apk, item.filename, resources.read(item), stored=item.compress_type == zipfile.ZIP_STORED, align=4)
        for path in sorted(path for path in dexed.rglob("*") if path.is_file()):
            add(apk, path.relative_to(dexed).as_posix(), path.read_bytes())
        add(apk, "assets/nano.zip", packed.read_bytes(), stored=True, align=4)
        for name, content in libraries(aar):
            add(apk, name, content, stored=True, align=PAGE)


def check_aar(aar: Path, desk: Path) -> Path:
    """The AAR's classes. Raises EdgeError for one that cannot be used, before anything is built."""
    classes = classes_of_aar(aar, desk)
    wrong = [name for name, content in libraries(aar) if min(loads(content), default=0) < PAGE]
    if wrong:
        raise EdgeError(
            f"not linked for pages of 16 KB, which newer phones have: {', '.join(wrong)}",
            "give a newer AAR of com.microsoft.onnxruntime:onnxruntime-android",
        )
    return classes


def sign(unsigned: Path, out: Path, key: Path) -> None:
    """Signs with a debug key, which is made where there is none."""
    if not key.exists():
        words = ["keytool", "-genkeypair", "-keystore", str(key), "-storepass", PASSWORD, "-keypass", PASSWORD]
        words += ["-alias", "debug", "-keyalg", "RSA", "-keysize", "2048", "-validity", "10000"]
        run([*words, "-dname", "CN=Debug"], "keytool makes no key", f"remove {key.parent} and try again")
    words = ["apksigner", "sign", "--ks", str(key), "--ks-pass", f"pass:{PASSWORD}", "--out", str(out), str(unsigned)]
    run(words, "apksigner does not sign", f"remove {key} and try again")


def build(android: Path, aar: Path | None, bundle: Path | None, out: Path) -> None:
    """Builds the APK. Raises EdgeError, and leaves no APK then."""
    check_tools()
    out.unlink(missing_ok=True)
    with TemporaryDirectory() as folder:
        desk = Path(folder)
        onnxruntime = None if aar is None else check_aar(aar, desk)
        target = compile_app(android, onnxruntime)
        dexed = dex(target, desk)
        packed = pack_bundle(bundle, desk)
        assemble(target, dexed, packed, aar, desk / "unsigned.apk")
        sign(desk / "unsigned.apk", desk / "signed.apk", target / "debug.keystore")
        assert not misaligned(desk / "signed.apk")
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(desk / "signed.apk", out)
        inside = target / "inside"  # for Android Studio's build of the same sources
        inside.mkdir(exist_ok=True)
        shutil.move(packed, inside / packed.name)


def main() -> int:
    """Builds by the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aar", type=Path, help="AAR of onnxruntime-android, for its native libraries")
    parser.add_argument("--bundle", type=Path, help="bundle inside the app; default: nano, exported now")
    parser.add_argument("--android", type=Path, default=ROOT / "apps" / "android", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="the APK; default: apps/android/app/target/phantom.apk")
    given = parser.parse_args()
    out = given.out or given.android / "app" / "target" / "phantom.apk"
    try:
        build(given.android, given.aar, given.bundle, out)
    except EdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")
    if given.aar is None:
        print(
            "It has no ONNX Runtime, and says so on its first screen; for one that answers: --aar FILE", file=sys.stderr
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
