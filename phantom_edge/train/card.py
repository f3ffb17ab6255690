"""The model card of a fine-tuned checkpoint: source, settings and measurements."""

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment

from phantom_edge.foundation.versions import __version__
from phantom_edge.train.settings import Settings

CARD = """\
---
base_model: {{ source }}
library_name: phantom-edge
pipeline_tag: image-text-to-text
---
# {{ source }}, fine-tuned with Phantom Optimization

Fine-tuned by phantom-edge {{ version }} on {{ "{:,}".format(pairs) }} question-answer pairs.

| setting | value |
|---|---|
{% for name, value in settings.items() -%}
| {{ name }} | {{ value }} |
{% endfor %}
{% if last %}
## On pictures held out from training

| stage | questions right | SFT loss (nats a token) | margin | preference accuracy |
|---|---:|---:|---:|---:|
{% for line in last -%}
| {{ line.stage }} | {{ "%.1f%%" % (100 * line.eval_exact) }} | {{ "%.3f" % line.eval_sft_loss }} | \
{{ "%.3f" % line.eval_margin if line.eval_margin is defined else "-" }} | \
{{ "%.1f%%" % (100 * line.eval_preference_accuracy) if line.eval_preference_accuracy is defined else "-" }} |
{% endfor %}
{% else %}
No pictures were held out to measure it on.
{% endif %}
"""


def model_card(
    source: str, lines: Sequence[dict[str, Any]], settings: Settings, pairs: int, kinds: Sequence[str]
) -> str:
    """Returns the card in Markdown."""
    held_out = {line["stage"]: line for line in lines if "eval_exact" in line}
    template = Environment(autoescape=False, keep_trailing_newline=True).from_string(CARD)  # Markdown, not HTML
    return template.render(
        source=source, version=__version__, pairs=pairs, settings=settings.document(), last=list(held_out.values())
    )
