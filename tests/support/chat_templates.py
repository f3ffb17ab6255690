"""Chat templates in the manner of official instruct models, and copies of checkpoints that have them."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

PARTS = (
    "{%- macro words(content) -%}{%- if content is string -%}{{ content }}{%- else -%}{%- for part in content -%}"
    "{{ '<image>' if part.type == 'image' else part.text }}{%- endfor -%}{%- endif -%}{%- endmacro -%}"
)


@dataclass(frozen=True)
class Template:
    """A template, and the named tokens of its tokenizer; ``reads`` are orders of roles that it must accept."""

    text: str
    tokens: dict[str, str] = field(default_factory=dict)
    reads: tuple[str, ...] = ("user", "system, user", "user, assistant, user", "a picture's mark")
    has_turns: bool = False


BOS = {"bos_token": "<|endoftext|>"}

TEMPLATES: dict[str, Template] = {
    "chatml with the generation tag": Template(
        PARTS + "{%- for message in messages -%}"
        "{{- '<|im_start|>' + message.role + '\\n' -}}"
        "{%- if message.role == 'assistant' -%}{% generation %}{{- words(message.content) + '<|im_end|>' -}}"
        "{% endgeneration %}{%- else -%}{{- words(message.content) + '<|im_end|>' -}}{%- endif -%}{{- '\\n' -}}"
        "{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}",
        reads=("user", "system, user", "user, assistant, user", "a picture, then text"),
        has_turns=True,
    ),
    "llama 3": Template(
        "{{- bos_token }}\n{%- if custom_tools is defined %}{% set tools = custom_tools %}{% endif %}\n"
        "{%- if not date_string is defined %}{%- if strftime_now is defined %}"
        "{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}"
        "{%- endif %}\n{%- if not tools is defined %}{%- set tools = none %}{%- endif %}\n"
        "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content']|trim %}"
        "{%- set messages = messages[1:] %}{%- else %}{%- set system_message = '' %}{%- endif %}\n"
        "{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}"
        "{%- if tools is not none %}{{- 'Environment: ipython\\n' }}{%- endif %}"
        "{{- 'Cutting Knowledge Date: December 2023\\nToday Date: ' + date_string + '\\n\\n' }}"
        "{{- system_message }}{{- '<|eot_id|>' }}\n"
        "{%- for message in messages %}{%- if not (message.role == 'ipython' or 'tool_calls' in message) %}"
        "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + "
        "'<|eot_id|>' }}{%- endif %}{%- endfor %}\n"
        "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}\n",
        BOS,
    ),
    "mistral": Template(
        "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
        "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}"
        "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}",
        BOS,
        reads=("user", "user, assistant, user", "a picture's mark"),
    ),
    "gemma": Template(
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
        "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}"
        "{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}",
        BOS,
        reads=("user", "user, assistant, user", "a picture's mark"),
    ),
    "phi 3": Template(
        "{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}"
        "{{'<|im_start|>' + '<|system|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'user' %}"
        "{{'<|im_start|>' + '<|user|>\\n' + message['content'] + '<|end|>\\n'}}"
        "{% elif message['role'] == 'assistant' %}"
        "{{'<|im_start|>' + '<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>' + '<|assistant|>\\n' }}"
        "{% else %}{{ eos_token }}{% endif %}",
    ),
    "qwen 2.5": Template(
        "{%- if tools %}\n    {{- '<|im_start|>system\\n' }}\n    {%- for tool in tools %}\n"
        '        {{- "\\n" }}\n        {{- tool | tojson }}\n    {%- endfor %}\n    {{- "<|im_end|>\\n" }}\n'
        "{%- else %}\n    {%- if messages[0]['role'] == 'system' %}\n"
        "        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}\n    {%- else %}\n"
        "        {{- '<|im_start|>system\\nYou are Qwen. You are a helpful assistant.<|im_end|>\\n' }}\n"
        "    {%- endif %}\n{%- endif %}\n{%- for message in messages %}\n"
        '    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or '
        '(message.role == "assistant" and not message.tool_calls) %}\n'
        "        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n"
        "    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n"
        "    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n",
    ),
    "qwen 3": Template(
        PARTS + "{%- set ns = namespace(last=messages|length - 1, searching=true) %}"
        "{%- for message in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}"
        "{%- if ns.searching and message.role == 'user' %}{%- set ns.searching = false %}{%- set ns.last = index %}"
        "{%- endif %}{%- endfor %}{%- for message in messages %}{%- set content = words(message.content) %}"
        "{%- if message.role == 'assistant' %}{%- if '</think>' in content %}"
        "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}"
        "{%- if message.reasoning_content is string and loop.index0 > ns.last %}"
        "{%- set content = '<think>\\n' + message.reasoning_content.strip('\\n') + '\\n</think>' + content %}"
        "{%- endif %}{%- endif %}{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
        "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}"
        "{%- endif %}{%- endif %}",
    ),
    "deepseek": Template(
        "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
        "{% set ns = namespace(is_first=true, system_prompt='', count=0) %}"
        "{% macro turn(role, content='') %}<|{{ role }}|>{{ content }}{% endmacro %}"
        "{%- for message in messages %}{%- if message['role'] != 'system' %}{% continue %}{%- endif %}"
        "{%- if ns.is_first %}{% set ns.system_prompt = message['content'] %}{% set ns.is_first = false %}"
        "{%- else %}{% break %}{%- endif %}{%- endfor %}{{ bos_token }}{{ ns.system_prompt }}"
        "{%- for message in messages %}{%- if message['role'] == 'user' %}{{ turn('User', message['content']) }}"
        "{%- elif message['role'] == 'assistant' %}{{ turn(role='Assistant', content=message['content']) + eos_token }}"
        "{%- endif %}{% set ns.count = ns.count + 1 %}{%- endfor -%}"
        "{% if add_generation_prompt %}{{ turn('Assistant') }}{% endif %}",
        BOS,
    ),
    "internlm 2": Template(
        "{{ bos_token }}{% for message in messages %}"
        "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
        BOS,
    ),
    "filters": Template(
        PARTS
        + "{%- set systems = messages | selectattr('role', 'equalto', 'system') | map(attribute='content') | list -%}"
        "{%- set rest = messages | rejectattr('role', 'equalto', 'system') | list -%}"
        "{{- '<|im_start|>' + (systems | select('string') | join('\\n\\n') | default('none', true) | upper) -}}"
        "{%- for message in rest -%}{{- '|' + message.role | capitalize + ': ' ~ words(message['content']) -}}"
        "{%- endfor -%}{{- {'turns': rest | length, 'roles': rest | map(attribute='role') | unique | list} | tojson -}}"
        "{{- dict(a=1) | tojson(indent=1) ~ dict.fromkeys(['b'], 2) -}}{%- if add_generation_prompt %}|Assistant:"
        "{%- endif -%}",
        reads=("user", "system, user", "user, assistant, user", "a picture, then text"),
    ),
    "strip and slices": Template(
        "{%- set first = messages[0] if messages[0].role == 'system' else none -%}"
        "{%- set rest = messages[1:] if first else messages -%}"
        "<|im_start|>{{ first.content.strip()[:40] if first and first.content is string }}"
        "{%- for message in rest -%}{{ '\\n### ' ~ message.role.title() ~ ':\\n' }}"
        "{%- if message.content is string %}{{ message.content.strip().replace('\\t', ' ') }}"
        "{%- else %}{% for part in message.content | sort(attribute='type') %}"
        "{{ '<image>' if part['type'] == 'image' else part['text'].rstrip() }}{% endfor %}{% endif %}"
        "{%- if not loop.last and message.role == 'assistant' %}{{ eos_token }}{% endif %}{%- endfor -%}"
        "{%- if add_generation_prompt %}{{ '\\n### Assistant:\\n' }}{% endif -%}",
        reads=("user", "system, user", "user, assistant, user", "a picture, then text"),
    ),
    "idefics": Template(
        "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
        "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
        "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}{% endif %}<end_of_utterance>\n"
        "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}",
        reads=("user", "system, user", "user, assistant, user", "a picture, then text"),
    ),
}
"""Twelve templates by their models."""


def with_template(checkpoint: Path, folder: Path, text: str, **tokens: str) -> Path:
    """A copy of a checkpoint with another chat template, and other named tokens."""
    shutil.copytree(checkpoint, folder)
    (folder / "chat_template.jinja").write_text(text, encoding="utf-8")
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | tokens))
    return folder
