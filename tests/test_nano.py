"""phantom-nano's making: its tokenizer, what it looks for, its optimizer, and the stages one after the other."""

from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageChops
from torch import nn

from phantom_edge.data.scenes.draw import draw_scene
from phantom_edge.data.scenes.exhibit import make_exhibit
from phantom_edge.data.scenes.graph import Scene, Sign
from phantom_edge.data.scenes.layouts import dense_scene
from phantom_edge.data.scenes.questions import ask
from phantom_edge.data.scenes.sample import make_scene
from phantom_edge.generate import Answer, load, stream
from phantom_edge.models.sizes import SIZES
from phantom_edge.processing.tiling import choose_grid
from phantom_edge.train.nano.facts import FactReader, fact_numbers, facts_at, facts_of, items_in, letters_of, windows_of
from phantom_edge.train.nano.model import new_model, new_processor
from phantom_edge.train.nano.names import PLACES, WORDS, NameReader, names_at, words_of
from phantom_edge.train.nano.recipe import train_nano
from phantom_edge.train.nano.scenes import FAR, SceneGroups, SceneRange, TileFacts, tiles_together
from phantom_edge.train.nano.stages import NANO_STAGES, SEED_STRIDE, first_seed
from phantom_edge.train.nano.tokenizer import scene_texts, train_tokenizer
from phantom_edge.train.optimizer import MuonAndAdamW
from phantom_edge.train.parts import in_first_step
from phantom_edge.train.runs import RunFolder

NANO = SIZES["nano"]


@pytest.fixture(scope="module")
def processor():
    return new_processor(NANO)


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=30))
def test_any_text_comes_back(text: str, processor) -> None:
    ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert processor.tokenizer.decode(ids) == text


def test_the_tokenizer(processor) -> None:
    tokenizer = processor.tokenizer
    assert len(tokenizer) == NANO.vocab
    for mark, number in NANO.special_tokens.items():
        assert tokenizer.convert_tokens_to_ids(mark) == number
    assert [len(tokenizer(text)["input_ids"]) for text in ("377", "$12.99", "user", " picture")] == [3, 6, 1, 1]
    assert train_tokenizer(NANO).get_vocab() == tokenizer.get_vocab()  # the same every time
    spoken = {token for text in scene_texts(50) for token in tokenizer(text)["input_ids"]}
    assert tokenizer.convert_tokens_to_ids("<|im_start|>") not in spoken


def test_facts_stand_where_the_item_is() -> None:
    numbers, side = fact_numbers(), 7
    seen: set[str] = set()
    for seed in range(200):
        scene = make_scene(seed, mix=("plain", "crowded")[seed % 2])
        held = facts_at(scene, side).view(side, side, -1)
        told = {name for name, number in numbers.items() if held[..., number].any()}
        letters = [(letter, x, item.place.y) for item in scene.items for letter, x in letters_of(item)]
        shown = {f"letter {letter}" for letter, _, _ in letters if letter.isalnum()}
        assert told == shown | {fact for item in scene.items for fact in facts_of(item)}
        for letter, x, y in letters:
            assert not letter.isalnum() or held[int(y * side), int(x * side), numbers[f"letter {letter}"]]
        seen |= told
        for item in scene.items:
            at = held[min(side - 1, int(item.place.y * side)), min(side - 1, int(item.place.x * side))]
            assert all(at[numbers[fact]] for fact in facts_of(item)), (seed, item)
        corners = [item for item in scene.items if item.place.x < 0.4 and item.place.y < 0.4]
        assert corners or not held[0, 0].any()
    assert len(seen) > 0.95 * len(numbers)  # no fact that no scene has


def test_letters_stand_where_they_are_drawn() -> None:
    """Another letter in a word changes the picture about there."""
    items = [item for seed in range(40) for item in make_scene(seed, mix="rich").items]
    written = [item for item in items if sum(letter.isalnum() for letter, _ in letters_of(item)) > 1]
    assert len(written) > 40
    for item in written[::4]:
        letters = letters_of(item)
        at = [place for place, (letter, _) in enumerate(letters) if letter.isalnum()][-2]
        text = "".join(letter for letter, _ in letters)
        instead = next(letter for letter in ("eo" if text.isalpha() else "83") if letter != text[at])
        changed = f"{text[:at]}{instead}{text[at + 1 :]}"
        if isinstance(item, Sign):
            other = replace(item, text=changed)
        elif item.samples is None:
            other = replace(item, digits=changed)
        else:  # another hand wrote that digit
            other = replace(item, samples=(*item.samples[:at], item.samples[at] - 1, *item.samples[at + 1 :]))
        pictures = [draw_scene(Scene("any", (one,), make_scene(0).look)) for one in (item, other)]
        box = ImageChops.difference(*pictures).convert("L").point(lambda v: 255 * (v > 12)).getbbox()
        assert box is not None
        assert abs((box[0] + box[2]) / 2 / 224 - letters[at][1]) < 0.035, (item, other)


def test_facts_are_read_from_pixels_alone(processor) -> None:
    reader = FactReader(new_model(NANO, 0))
    pixels = torch.randn(2, 3, 224, 224)
    facts = torch.zeros(2, NANO.tokens_per_tile, len(fact_numbers()))
    with torch.enable_grad():
        reader(pixel_values=pixels, facts=facts)["loss"].backward()
    moved = {name.split(".")[1] for name, weight in reader.named_parameters() if weight.grad is not None}
    assert moved == {"vision_tower", "projector", "weight", "bias"}  # the last two: head and norm


def test_names_stand_where_the_item_is() -> None:
    side, seen = 7, set()
    for seed in range(200):
        scene = make_scene(seed, mix=("plain", "crowded")[seed % 2])
        held = names_at(scene, side).view(side, side, -1)
        told = {word for number, word in enumerate(WORDS) if held[..., number].any()}
        assert told == {word for item in scene.items for word in words_of(item)}
        seen |= told
        for item in scene.items:
            at = held[int(item.place.y * side), int(item.place.x * side)]
            assert all(at[WORDS.index(word)] for word in words_of(item))
            across, down = at[len(WORDS) :].view(2, PLACES)
            assert across[int(item.place.x * PLACES)] and down[int(item.place.y * PLACES)]
    assert len(seen) > 0.9 * len(WORDS)


def test_names_are_read_with_the_words_own_embeddings(processor) -> None:
    """A token that points along a word's embedding says that word, and the embeddings stay as they are."""
    model = new_model(NANO, 0)
    reader = NameReader(model, processor.tokenizer)
    table = model.get_input_embeddings().weight
    for word in ("red", "today", "left"):
        (number,) = processor.tokenizer.encode(word, add_special_tokens=False)
        scores = reader.vectors @ table[number]
        assert WORDS[int(scores.argmax())] == word
    names = torch.zeros(1, NANO.tokens_per_tile, len(WORDS) + 2 * PLACES)
    facts = torch.zeros(1, NANO.tokens_per_tile, len(fact_numbers()))
    with torch.enable_grad():
        reader(pixel_values=torch.randn(1, 3, 224, 224), facts=facts, names=names)["loss"].backward()
    assert table.grad is None


def test_stages_share_no_scene() -> None:
    taken: set[int] = set()
    for stage in NANO_STAGES:
        start = first_seed(NANO_STAGES, stage)
        assert stage.steps * stage.batch <= SEED_STRIDE and start not in taken
        taken.add(start)
    assert [stage.objective for stage in NANO_STAGES if stage.step == 1] == ["po"]


def test_scenes_are_asked_without_repeats() -> None:
    groups = SceneGroups(SceneRange("train", 40, 6, size=112, large_every=3), rounds=3, with_rejected=True)
    for index in range(len(groups)):
        group = groups[index]
        questions = [pair.question for pair in group.pairs]
        assert len(set(questions)) == len(questions) > len(ask(make_scene(40 + index)))
        assert all(pair.rejected and pair.rejected != pair.chosen for pair in group.pairs)
        assert group.images[0].size == ((224, 224) if index % 3 == 0 else (112, 112))
    more = SceneGroups(SceneRange("train", 40, 6, size=112), rounds=1, relations=5)
    for index in range(len(more)):
        once = [question.text for question in ask(make_scene(40 + index))]
        added = [pair for pair in more[index].pairs if pair.question not in once]
        assert all(pair.kind == "relation" for pair in added)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(6, 4)
        self.linear = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.linear(self.table(ids))))


def test_muon_moves_matrices_and_adamw_the_rest() -> None:
    model = Small()
    optimizer = MuonAndAdamW(model, 0.01, weight_decay=0.0, betas=(0.9, 0.98))
    muon, adamw = ({id(p) for group in part.param_groups for p in group["params"]} for part in optimizer.parts)
    assert muon == {id(model.linear.weight)}
    assert adamw == {id(p) for p in model.parameters()} - muon
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    optimizer.step()
    schedule.step()
    assert [group["lr"] for part in optimizer.parts for group in part.param_groups] == [0.005, 0.005]


def test_an_optimizer_goes_on_where_it_was_saved() -> None:
    def run(steps: int, model: Small, optimizer: MuonAndAdamW, first: int = 0) -> None:
        for step in range(first, first + steps):
            with torch.enable_grad():
                model(torch.tensor([step % 6, 1])).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    torch.manual_seed(0)
    straight, broken = Small(), Small()
    broken.load_state_dict(straight.state_dict())
    made = [MuonAndAdamW(model, 0.01, weight_decay=0.1, betas=(0.9, 0.98)) for model in (straight, broken)]
    run(6, straight, made[0])
    run(3, broken, made[1])
    again = MuonAndAdamW(broken, 0.5, weight_decay=0.1, betas=(0.9, 0.98))
    again.load_state_dict(made[1].state_dict())
    run(3, broken, again, first=3)
    for name, weight in straight.state_dict().items():
        torch.testing.assert_close(broken.state_dict()[name], weight)


@pytest.mark.slow
def test_stage_by_stage(tmp_path: Path) -> None:
    """A step of each stage; a stage that is done is not done again; step 1 moves its parts alone."""
    stages = tuple(replace(stage, steps=1, batch=2, warmup=0, large_every=0) for stage in NANO_STAGES)
    begun: list[str] = []
    with torch.enable_grad():
        for _ in range(2):
            model = train_nano(
                NANO,
                tmp_path,
                stages=stages,
                workers=0,
                bf16=False,
                validation=2,
                begin=lambda stage: begun.append(stage.name),
            )
    assert begun == [stage.name for stage in stages] and model == tmp_path / NANO_STAGES[-1].name / "model"
    read, prefer = (load(str(tmp_path / name / "model"))[0].state_dict() for name in ("read", "prefer"))
    moved = {name for name in read if not torch.equal(read[name], prefer[name])}
    assert moved and all(in_first_step(name) for name in moved)
    loaded, loaded_processor = load(str(model))
    answer = Answer()
    list(stream(loaded, loaded_processor, "What is there?", answer=answer))
    assert answer.prompt_tokens > 5 and answer.tokens >= 1
    assert RunFolder(tmp_path).lines() == []  # nobody watched


@pytest.mark.parametrize("material", ["plain", "wide", "fine"])
def test_facts_of_tiles_stand_where_the_tile_shows_the_item(material: str, processor) -> None:
    """Tiles together hold the facts of the whole picture, each in the tile and at the token over the item's middle."""
    numbers, side = fact_numbers(), 7
    tiling = processor.image_processor.tiling
    for seed in range(30):
        exhibit = make_exhibit(seed, "train", material)
        (scene,), (picture,) = exhibit.scenes, exhibit.pictures
        windows = windows_of(scene, *choose_grid(*picture.size, tiling))
        assert len(windows) == len(processor.image_processor(picture)["pixel_values"])
        held = [facts_at(scene, side, seen).view(side, side, -1) for seen in windows]
        for item in items_in(scene, windows[0]):
            showing = [at for at, seen in enumerate(windows) if seen.resolves and seen.place(*middle(item), side)]
            assert len(showing) == 1, (seed, item)  # a middle is in one tile
            column, row = windows[showing[0]].place(*middle(item), side)
            assert all(held[showing[0]][row, column, numbers[fact]] for fact in facts_of(item)), (seed, item)
        shown = {fact for item in items_in(scene, windows[0]) for fact in facts_of(item)}
        found = {name for name, number in numbers.items() if any(tile[..., number].any() for tile in held)}
        assert shown == {fact for fact in found if not fact.startswith("letter ")}
        if len(windows) > 1:
            small = [item for item in items_in(scene, windows[0]) if item not in list(items_in(scene, windows[-1]))]
            assert (material == "fine") >= bool(small)


def middle(item) -> tuple[float, float]:
    return item.place.x, item.place.y


def test_dense_scenes_show_small_things_in_every_tile(processor) -> None:
    """Several of each kind over the whole picture; of its tiles different ones, and never the thumbnail."""
    scene = dense_scene("train/0/dense")
    assert scene == dense_scene("train/0/dense") != dense_scene("train/1/dense")
    columns, rows = choose_grid(*scene.pixels, processor.image_processor.tiling)
    kinds = Counter(type(one) for one in scene.items)
    assert len(kinds) == 3 and all(one.small for one in scene.items)
    assert any(dense_scene(f"train/{seed}/dense").rows for seed in range(4))
    assert kinds.total() + len(scene.rows) >= 3 * columns * rows
    places = [one.place for one in scene.items]
    assert not any(
        abs(a.x - b.x) < min(a.radius, b.radius) and abs(a.y - b.y) < min(a.radius, b.radius)
        for a, b in combinations(places, 2)
    )
    tiles = TileFacts(0, 4, ("dense",), processor)
    for index in range(4):
        scene = dense_scene(f"train/{index}/dense")
        pixels = torch.as_tensor(processor.image_processor(draw_scene(scene))["pixel_values"])
        shown = [at for one in tiles[index]["pixel_values"] for at, tile in enumerate(pixels) if torch.equal(one, tile)]
        assert shown == list(range(len(pixels) - 1))
        assert tiles[index]["names"].any(-1).any(-1).sum() >= 3


def test_tiles_come_with_their_own_facts(processor) -> None:
    tiles = TileFacts(0, 8, ("fine", "wide", "plain"), processor)
    batch, again = (tiles_together([tiles[0], tiles[1], tiles[2]]) for _ in range(2))
    count = len(batch["facts"])
    assert 6 <= count <= 12 and batch["pixel_values"].shape == (count, 3, 224, 224)
    assert batch["facts"].shape[:2] == (count, 49)
    assert batch["names"].shape == (count, 49, len(WORDS) + 2 * PLACES)
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    squares = [make_scene(2 + number * FAR) for number in range(4)]
    assert torch.equal(batch["facts"][-4:], torch.stack([facts_at(scene, 7) for scene in squares]))
    exhibit = make_exhibit(0, "train", "fine")
    windows = windows_of(exhibit.scenes[0], *choose_grid(*exhibit.pictures[0].size, processor.image_processor.tiling))
    pixels = torch.as_tensor(processor.image_processor(exhibit.pictures[0])["pixel_values"])
    assert torch.equal(batch["pixel_values"][3], pixels[-1])
    for pixel, facts in zip(batch["pixel_values"][:4], batch["facts"][:4], strict=True):
        (at,) = [at for at, one in enumerate(pixels) if torch.equal(one, pixel)]
        assert torch.equal(facts, facts_at(exhibit.scenes[0], 7, windows[at]))
