"""The README's part for pages: which files an engine needs, and the programs that answer with them."""

from phantom_edge.export.programs import blocks
from phantom_edge.export.targets.onnx.readme import SCRIPTS
from phantom_edge.export.targets.target import Lowered
from phantom_edge.export.targets.web.facts import WASM, WEBGPU, WebFacts

TEXT = """\
## Run it

Host this folder as it is, on any server. A page loads `phantom.json`, `{prompt}`, and the files of one engine of
`onnxruntime-web` (1.30 or newer), which `facts.engines` in `phantom.json` lists:

| engine | files | starts from |
|---|---|---|
{engines}

{about}
The page's own library, `phantom-edge` for TypeScript, does all of this in a worker, keeps files between visits and the
cache on the GPU. The programs here are the same in few lines: they answer one question about one picture, greedily,
with the settings under `generation` in `phantom.json`.

### In Node

`npm install onnxruntime-web @huggingface/tokenizers @huggingface/jinja sharp`; `node answer.mjs BUNDLE PICTURE
QUESTION` (Node 20 or newer). It needs these files:

{node}
### In a page

`index.html` and `page.mjs`, beside `bundle.mjs`, `steps.mjs`, `words.mjs`, `pictures.mjs` and `numbers.mjs` from above,
and this folder as `bundle`. `npm install onnxruntime-web @huggingface/tokenizers @huggingface/jinja` there, and serve
it: `npx serve`, or `python3 -m http.server`. No bundler is needed; with one, leave out the import map, and where it
does not find the runtime's own `.wasm` file, name its place in `ort.env.wasm.wasmPaths`. Browsers give `crypto.subtle`
and WebGPU only to pages from `https` or `localhost`. WASM blocks its thread while it computes: in an app, run this in
a worker.

{page}"""

ABOUT = {
    WASM: "WASM multiplies bytes where weights have a scale for each row; weights in groups are slow there.",
    WEBGPU: (
        "WebGPU takes no empty array: the cache begins with the rows of the first token in the bundle, and the prompt "
        "with its second token. No WebGPU ran these graphs when they were exported; ONNX Runtime's CPU did, for "
        "`proof.json`."
    ),
}

HALVES = "They compute in float16, which an adapter of WebGPU must have: `shader-f16` among its features."

ROOM = "phantom_edge.export.targets.web.programs"


def readme(lowered: Lowered) -> str:
    """Returns the text of this target's part of ``README.md``."""
    facts = lowered.facts
    assert isinstance(facts, WebFacts)
    rows = [
        f"| {name} | {', '.join(f'`{file}`' for file in form.files)} | "
        f"{'an empty cache' if name == WASM else 'row 1'} |"
        for name, form in facts.engines.items()
    ]
    has_halves = any(part.precision == "fp16" for part in lowered.parts.values())
    about = [ABOUT[name] for name in facts.engines] + ([HALVES] if has_halves and WEBGPU in facts.engines else [])
    return TEXT.format(
        prompt="`, `".join(("tokenizer.json", "chat_template.jinja")),
        engines="\n".join(rows),
        about="\n".join(f"* {one}" for one in about),
        node=blocks("answer.mjs", "bundle.mjs", room=ROOM) + "\n" + blocks(*SCRIPTS),
        page=blocks("index.html", "page.mjs", room=ROOM),
    )
