"""The model card of a fine-tuned checkpoint: source, settings and measurements."""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from jinja2 import Environment

from phantom_edge.checkpoint.card import Card
from phantom_edge.foundation.versions import __version__
from phantom_edge.train.settings import Settings

CARD = """\
---
base_model: {{ quoted(source) }}
{% for name, value in license.items() -%}
{{ name }}: {{ quoted(value) }}
{% endfor -%}
library_name: phantom-edge
pipeline_tag: image-text-to-text
---
# {{ source }}, fine-tuned with Phantom Optimization

Fine-tuned by phantom-edge {{ version }} on {{ "{:,}".format(pairs) }} question-answer pairs.

## Direct Use

It answers questions about pictures like those that it was fine-tuned on.
{%- if uses %} The card of {{ source }} states this use: {{ uses }}{% endif %}
{% if out_of_scope %}
## Out-of-Scope Use

The card of {{ source }} excludes: {{ out_of_scope }}
{% endif %}
## Settings

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


def model_card(source: str, before: Card, lines: Sequence[dict[str, Any]], settings: Settings, pairs: int) -> str:
    """Returns the card in Markdown; ``before`` is that of the checkpoint ``source``, whose licence holds on."""
    held_out = {line["stage"]: line for line in lines if "eval_exact" in line}
    template = Environment(autoescape=False, keep_trailing_newline=True).from_string(CARD)  # Markdown, not HTML
    return template.render(
        source=source,
        quoted=partial(json.dumps, ensure_ascii=False),  # JSON is YAML
        license=before.license_entries,
        uses=before.uses,
        out_of_scope=before.out_of_scope,
        version=__version__,
        pairs=pairs,
        settings=settings.document(),
        last=list(held_out.values()),
    )
