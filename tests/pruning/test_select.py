"""Selection: the best channels stay, budgets are met, and the same input gives the same plan."""

import hashlib
import re
import struct

import pytest
import torch

from compress.costs import macs, params
from compress.plan import UserError, WidthPlan, load_scores, save_scores
from compress.pruning import Budget, SelectConfig, hash_scores, plan_for, select
from compress.spaces import PreResNetSpace, SwinSpace, sizes

SIZE = (3, 32, 32)
SPACES = {depth: PreResNetSpace(depth, 10, score_inputs=depth == 56) for depth in (20, 56, 164)}
SMALL_SWIN = {"patch_size": 2, "window_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (1, 2)}
KINDS = ("pruning_ratio", "macs_ratio", "params_ratio")


def random_scores(space, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(n, generator=generator) for name, n in sizes(space.groups).items()}


DEFAULT = SelectConfig()


def run(space, scores, budget, config=DEFAULT):
    return select(scores, space.operators(SIZE), budget, config, space=space.name)


def cost(kind, space, widths):
    """What the budget limits: channels, MACs or parameters."""
    if kind == "pruning_ratio":
        return sum(widths.values())
    return {"macs_ratio": macs, "params_ratio": params}[kind](space.operators(SIZE), widths)


@pytest.mark.parametrize("depth", SPACES)
@pytest.mark.parametrize("ranking", ["global", "layer"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_budget_is_met_from_below_within_one_percent_by_the_best_channels(depth, ranking, kind):
    space = SPACES[depth]
    full = sizes(space.groups)
    for seed, value in enumerate((0.3, 0.4, 0.6, 0.95)):
        scores = random_scores(space, seed)
        plan = run(space, scores, Budget(kind, value), SelectConfig(ranking))
        share = 1 - value if kind == "pruning_ratio" else value
        used, limit = cost(kind, space, plan.widths), share * cost(kind, space, full)
        if kind == "pruning_ratio":
            assert used == int(limit + 1e-6), "to the channel"
        else:
            assert 0.99 * limit <= used <= limit
        for name, score in scores.items():
            kept = set(plan.kept[name])
            dropped = [abs(float(score[i])) for i in range(len(score)) if i not in kept]
            assert min(abs(float(score[i])) for i in kept) >= max(dropped, default=0)
        assert plan == run(space, scores, Budget(kind, value), SelectConfig(ranking))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_global_ranking_equals_brute_force(kind, seed):
    """One channel at a time, worst first, until it fits; then those that still fit come back, best first."""
    space, value = SPACES[20], (0.35, 0.5, 0.7)[seed]
    scores = random_scores(space, seed)
    widths = sizes(space.groups)
    limit = (1 - value if kind == "pruning_ratio" else value) * cost(kind, space, widths) + 1e-6
    channels = sorted((abs(float(s)), name, i) for name, score in scores.items() for i, s in enumerate(score))
    dropped = []
    while cost(kind, space, widths) > limit:
        dropped.append(channels[len(dropped)])
        widths[dropped[-1][1]] -= 1
    closed = set()
    kept = {name: set(range(len(s))) for name, s in scores.items()}
    for _, name, i in dropped:
        kept[name].remove(i)
    for _, name, i in reversed(dropped):
        wider = {**widths, name: widths[name] + 1}
        if name not in closed and cost(kind, space, wider) <= limit:
            widths = wider
            kept[name].add(i)
        else:
            closed.add(name)  # or a worse channel of the group would overtake
    assert all(kept.values()), "the case should not touch the floor"
    assert run(space, scores, Budget(kind, value)).kept == {name: tuple(sorted(k)) for name, k in kept.items()}


@pytest.mark.parametrize("kind", ["flops_ratio", "", None, ["macs_ratio"]])
def test_budgets_of_unknown_kinds_are_refused(kind):
    with pytest.raises(UserError, match=r"budget: kind = .* is unknown; choose one of free, pruning_ratio, macs_ratio"):
        Budget(kind, 0.5)
    with pytest.raises(UserError, match="is unknown"):
        Budget.from_json({"kind": "macs_ratio", "value": 0.5, "also": [{"kind": kind, "value": 0.5}]})


@pytest.mark.parametrize("value", ["0.5", [0.5], True])
def test_budgets_are_numbers(value):
    with pytest.raises(UserError, match=r"macs_ratio .*: must be a number"):
        Budget("macs_ratio", value)


@pytest.mark.parametrize("value", [0.25, 0.4, 0.6])
def test_layer_ranking_prunes_equal_shares_and_ignores_the_scale_of_a_group(value):
    space = SPACES[164]
    scores = random_scores(space)
    plan = run(space, scores, Budget("pruning_ratio", value), SelectConfig("layer"))
    for name, n in plan.sizes.items():
        assert abs((n - plan.widths[name]) / n - value) <= 1 / n
    scaled = {name: score * 10.0 ** (i % 5) for i, (name, score) in enumerate(scores.items())}
    assert run(space, scaled, Budget("pruning_ratio", value), SelectConfig("layer")).kept == plan.kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("floor", "round_to"), [(1, 8), (4, 1), (5, 4), (20, 16), (32, 8)])
def test_floors_and_multiples_hold(kind, floor, round_to):
    space = SPACES[56]
    config = SelectConfig(floor=floor, round_to=round_to)
    value = 0.3 if kind == "pruning_ratio" else 0.75
    plan = run(space, random_scores(space), Budget(kind, value), config)
    for name, n in plan.sizes.items():
        width = plan.widths[name]
        assert width >= min(floor, n)
        assert width % round_to == 0 or width == n
    share = 1 - value if kind == "pruning_ratio" else value
    assert cost(kind, space, plan.widths) <= share * cost(kind, space, plan.sizes) * (1 + 1e-8)


def test_a_group_at_its_floor_keeps_its_best_channel():
    space = SPACES[20]
    scores = random_scores(space)
    scores["layer2.0.conv1"] *= 1e-3
    plan = run(space, scores, Budget("pruning_ratio", 0.5))
    assert plan.kept["layer2.0.conv1"] == (int(scores["layer2.0.conv1"].abs().argmax()),)


@pytest.mark.parametrize("ranking", ["global", "layer"])
def test_ties_do_not_depend_on_the_order_of_groups_nor_on_a_file(ranking, tmp_path):
    space = SPACES[56]
    equal = {name: torch.ones(n) for name, n in sizes(space.groups).items()}
    save_scores(tmp_path / "scores.safetensors", equal)
    for budget in (Budget("pruning_ratio", 0.37), Budget("macs_ratio", 0.61)):
        plan = run(space, equal, budget, SelectConfig(ranking))
        assert plan.kept == {name: tuple(range(width)) for name, width in plan.widths.items()}
        for same in (dict(reversed(equal.items())), load_scores(tmp_path / "scores.safetensors")):
            assert run(space, same, budget, SelectConfig(ranking)) == plan


def test_a_free_ratio_prunes_exactly_the_zeros_but_for_floor_and_rounding():
    space = SPACES[20]
    scores = random_scores(space)
    scores["layer1.0.conv1"][[1, 2, 3]] = 0
    scores["layer2.0.conv1"][:] = 0
    scores["layer3.0.conv1"][5:] = torch.tensor(-0.0)
    scores["layer3.1.conv1"][0] = 1e-30
    plan = run(space, scores, Budget())
    assert plan.kept["layer1.0.conv1"] == (0, *range(4, 16))
    assert plan.kept["layer2.0.conv1"] == (0,)
    assert plan.kept["layer3.0.conv1"] == (0, 1, 2, 3, 4)
    rest = [n for n in plan.sizes if n not in ("layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv1")]
    assert all(plan.widths[name] == plan.sizes[name] for name in rest)
    assert plan.record["budget"] == {"kind": "free", "value": None}
    rounded = run(space, scores, Budget(), SelectConfig(floor=2, round_to=8))
    assert [rounded.widths[f"layer{i}.0.conv1"] for i in (1, 2, 3)] == [16, 8, 8], "no channel with a score may go"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_refused_by_name(bad):
    scores = random_scores(SPACES[20])
    scores["layer2.1.conv2"][3] = bad
    with pytest.raises(UserError, match=r"scores\['layer2\.1\.conv2'\] are not finite"):
        run(SPACES[20], scores, Budget("pruning_ratio", 0.4))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("config", [SelectConfig(), SelectConfig(floor=5), SelectConfig("layer", round_to=8)])
@pytest.mark.parametrize("depth", [20, 56])
def test_the_quoted_reachable_range_is_reachable_and_tight(kind, config, depth):
    space = SPACES[depth]
    scores = random_scores(space)
    beyond = 0.9999 if kind == "pruning_ratio" else 0.001
    with pytest.raises(UserError, match="out of reach") as refusal:
        run(space, scores, Budget(kind, beyond), config)
    assert f"{kind} = {beyond!r}: out of reach" in str(refusal.value)
    least, most = map(float, re.search(r"range is ([\d.]+) to ([\d.]+)", str(refusal.value)).groups())
    end, step = (most, 1e-4) if kind == "pruning_ratio" else (least, -1e-4)
    assert min(run(space, scores, Budget(kind, end), config).widths.values()) <= 8
    with pytest.raises(UserError, match="out of reach"):
        run(space, scores, Budget(kind, end + step), config)
    mild = run(space, scores, Budget(kind, least + 1e-4 if kind == "pruning_ratio" else most - 1e-4), config)
    assert 0 < mild.record["pruned_ratio"] < 0.05


@pytest.mark.parametrize("value", [0, 1, -0.1, 1.5, float("nan")])
def test_budgets_outside_zero_to_one_are_refused(value):
    with pytest.raises(UserError, match=r"macs_ratio .*must lie between 0 and 1"):
        Budget("macs_ratio", value)


@pytest.mark.parametrize(
    "settings", [{"ranking": "best"}, {"floor": -1}, {"floor": 0, "gain": "log"}, {"round_to": 0}, {"round_to": 2.5}]
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(UserError, match=rf"select\.{next(iter(settings))} = "):
        SelectConfig(**settings)
    with pytest.raises(UserError, match="only 'free'"):
        Budget("free", 0.5)
    with pytest.raises(UserError, match="only 'free'"):
        Budget("macs_ratio")


def test_the_record_holds_the_costs_before_and_after():
    space = SPACES[20]
    plan = run(space, random_scores(space), Budget("macs_ratio", 0.5))
    operators = space.operators(SIZE)
    assert plan.record["params"] == {"before": 219_482, "after": params(operators, plan.widths)}
    assert plan.record["macs"] == {"before": 33_737_216, "after": macs(operators, plan.widths)}
    assert plan.record["pruned_ratio"] == pytest.approx(1 - sum(plan.widths.values()) / 448)
    assert plan.record["select"] == {"ranking": "global", "floor": 1, "round_to": 1, "gain": "sum"}
    assert plan.record["scores_sha256"] == hash_scores(random_scores(space))


def test_a_selected_plan_survives_its_file(tmp_path):
    plan = run(SPACES[56], random_scores(SPACES[56]), Budget("params_ratio", 0.5))
    plan.save(tmp_path / "plan.json")
    assert WidthPlan.load(tmp_path / "plan.json") == plan


def test_the_hash_of_scores_is_that_of_names_and_float32_values():
    expected = hashlib.sha256(b"a\0" + struct.pack("<2f", 1.5, -2) + b"b\0" + struct.pack("<1f", 0.25)).hexdigest()
    scores = {"b": torch.tensor([0.25]), "a": torch.tensor([1.5, -2.0], dtype=torch.float64)}
    assert hash_scores(scores) == expected
    assert hash_scores(dict(reversed(scores.items()))) == expected
    assert hash_scores({**scores, "a": torch.tensor([1.5, 2.0])}) != expected
    assert hash_scores({"b": scores["a"], "a": scores["b"]}) != expected


def test_equal_scores_go_from_every_group_in_equal_shares():
    space = PreResNetSpace(20, 10)
    zeros = {name: torch.zeros(n) for name, n in sizes(space.groups).items()}
    plan = select(zeros, space.operators((3, 32, 32)), Budget("pruning_ratio", 0.5), space=space.name)
    assert all(abs(len(kept) - n / 2) <= 1 for kept, n in zip(plan.kept.values(), plan.sizes.values(), strict=True))


def test_ranking_by_kind_prunes_the_same_share_of_every_kind():
    """Head dimensions and MLP units have scores of different size: compared globally, one kind would go first."""
    space = SwinSpace(4, "swin_tiny_patch4_window7_224", input_size=32, options=SMALL_SWIN)
    kinds = {group.name: group.kind for group in space.groups}
    scores = {n: s.abs() * (100 if kinds[n] == "mlp" else 1) for n, s in random_scores(space).items()}
    operators, shares = space.operators(SIZE), {}
    for ranking in ("global", "kind"):
        config, budget = SelectConfig(ranking), Budget("pruning_ratio", 0.25)
        plan = select(scores, operators, budget, config, space=space.name, kinds=kinds)
        assert plan.record["kinds"] == kinds
        assert plan_for(space, scores, budget, config, input_size=SIZE) == plan, "a space knows its groups' kinds"
        for kind in ("attention", "mlp"):
            names = [name for name in kinds if kinds[name] == kind]
            kept, full = (sum(w[name] for name in names) for w in (plan.widths, plan.sizes))
            shares[ranking, kind] = kept / full
            if ranking == "kind":
                # Within a kind the layers still compete: no pruned score is above a kept one.
                split = {keep: [] for keep in (True, False)}
                for name in names:
                    for i, value in enumerate(scores[name].tolist()):
                        split[i in plan.kept[name]].append(value)
                assert min(split[True]) >= max(split[False])
    assert shares["kind", "attention"] == pytest.approx(0.75, abs=0.02) == shares["kind", "mlp"]
    assert shares["global", "attention"] < 0.2


def test_a_plan_says_what_groups_stand_for_unless_all_are_channels():
    space = SPACES[20]
    scores, operators = random_scores(space), space.operators((3, 32, 32))
    budget, names = Budget("pruning_ratio", 0.4), [group.name for group in space.groups]
    for kinds in (dict.fromkeys(names, "channels"), {}):
        assert "kinds" not in select(scores, operators, budget, SelectConfig(), space="x", kinds=kinds).record
    mixed = {**dict.fromkeys(names, "channels"), names[0]: "mlp"}
    assert select(scores, operators, budget, SelectConfig(), space="x", kinds=mixed).record["kinds"] == mixed
