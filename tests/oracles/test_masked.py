"""The masked methods: what they aim at, who the teacher is, and that they learn."""

import copy

import pytest
import torch
import torch.nn.functional as F

from einthoven import parts
from einthoven.ecg import LEADS, Signal
from einthoven.layers.masked import ENOUGH, collapsed, error, normalised, spread
from einthoven.methods.ecg_jepa import ECGJEPA, by_place
from einthoven.methods.st_mem import STMEM
from einthoven.types import Batch, Method, PatchBackbone, Tokens

WANTS = Signal(seconds=3, scale="crop", subset=True)
SMALL = {"name": "vit", "size": [24, 2, 2]}
METHODS = {
    "mtae": ({"patch": 0.3, "together": True}, {"name": "mae", "decoder": [16, 1, 2]}),
    "mlae": ({"patch": 3.0}, {"name": "mae", "decoder": [16, 1, 2]}),
    "st_mem": ({"patch": 0.3, "special": "sep"}, {"name": "st_mem", "decoder": [16, 1, 2]}),
    "jepa": (
        {"patch": 0.2, "code": "fixed", "attention": "cross_pattern", "size": [24, 2, 1]},
        {"name": "ecg_jepa", "predictor": [16, 1, 2]},
    ),
    "jepa random": ({"patch": 0.2}, {"name": "ecg_jepa", "mask": "random", "predictor": [16, 1, 2]}),
}
each = pytest.mark.parametrize("which", METHODS)


def made(which: str) -> Method:
    torch.manual_seed(0)
    backbone, method = METHODS[which]
    network = parts.build("backbones", SMALL | backbone, wants=WANTS)
    built: Method = parts.build("methods", method, backbone=network)
    return built


def batch(records: int = 8, leads: tuple[int, ...] | None = None) -> Batch:
    generator = torch.Generator().manual_seed(1)
    time = torch.arange(WANTS.samples) / WANTS.hertz
    rate, size = (
        torch.rand(records, 1, 1, generator=generator) + 0.5,
        torch.randn(records, 12, 1, generator=generator),
    )
    ecg = size * torch.sin(2 * torch.pi * rate * time)
    rows = torch.arange(records)
    if leads is None:
        return Batch(ecg=ecg, row=rows, patient=rows)
    return Batch(
        ecg=ecg[:, list(leads)], row=rows, patient=rows, leads=torch.tensor(leads).expand(records, -1)
    )


@each
def test_learns_a_batch_by_heart(which: str) -> None:
    """With the same places hidden in each step."""
    method, one = made(which), batch(4)
    adam = torch.optim.Adam([weight for weight in method.parameters() if weight.requires_grad], 1e-2)
    losses = []
    for step in range(40):
        torch.manual_seed(7)
        losses.append(method(one)["loss"])
        adam.zero_grad()
        losses[-1].backward()
        adam.step()
        method.after_step(step / 40)
    assert float(losses[-1].detach()) < 0.75 * float(losses[0].detach())


@each
def test_every_learnable_weight_learns(which: str) -> None:
    method = made(which)
    method(batch())["loss"].backward()
    assert [n for n, w in method.named_parameters() if w.requires_grad and w.grad is None] == []


@each
@pytest.mark.parametrize("leads", [(1,), (1, 6), (0, 1, 2, 3, 4, 5), (7, 1, 0, 6, 8, 9, 10, 11)])
def test_leads_in_any_order_are_those_picked_by_name(which: str, leads: tuple[int, ...]) -> None:
    method = made(which).eval()
    ecg = torch.zeros(3, 12, WANTS.samples)
    some = batch(3, leads)
    ecg[:, list(leads)] = some.ecg
    named = torch.full((3, 12), -1)
    named[:, list(leads)] = torch.tensor(leads)
    padded = Batch(ecg=ecg, row=some.row, patient=some.patient, leads=named)
    wanted = method.outputs(some)["features"]
    torch.testing.assert_close(method.outputs(padded)["features"], wanted)
    back = Batch(ecg=some.ecg.flip(1), row=some.row, patient=some.patient, leads=some.leads.flip(1))  # type: ignore[union-attr]
    torch.testing.assert_close(method.outputs(back)["features"], wanted)
    assert torch.isfinite(method(padded)["loss"])


@each
def test_what_an_absent_lead_holds_changes_no_loss(which: str) -> None:
    method, losses = made(which).eval(), []
    for filled in (0.0, 5.0):
        full = batch(4, tuple(range(12)))
        named = full.leads.clone()  # type: ignore[union-attr]
        named[:2, 3] = -1
        full.ecg[:2, 3] = filled
        torch.manual_seed(3)
        given = Batch(ecg=full.ecg, row=full.row, patient=full.patient, leads=named)
        losses.append(float(method(given)["loss"].detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_target_is_each_patch_in_its_own_mean_and_deviation() -> None:
    patches = torch.randn(2, 3, 20) * 4 + 1
    for record in range(2):
        for patch in range(3):
            values = patches[record, patch]
            expected = (values - values.mean()) / (values.var(unbiased=True) + 1e-6).sqrt()
            torch.testing.assert_close(normalised(patches)[record, patch], expected)


def test_the_error_counts_hidden_patches_that_are_there() -> None:
    guess, target = torch.zeros(1, 3, 2), torch.tensor([[[1.0, 3.0], [2.0, 2.0], [9.0, 9.0]]])
    assert float(error(guess, target, None)) == pytest.approx((5 + 4 + 81) / 3)
    assert float(error(guess, target, torch.tensor([[True, True, False]]))) == pytest.approx(4.5)


def test_st_mem_never_shows_the_encoder_a_hidden_patch() -> None:
    method = made("st_mem")
    assert isinstance(method, STMEM)
    seen, encode = [], method.backbone.encode
    method.backbone.encode = lambda patches: seen.append(patches) or encode(patches)  # type: ignore[method-assign,func-returns-value]
    method(batch())
    assert seen[0].values.shape[1] == 12 * 2  # of ten patches a lead, two stay


def test_the_teacher_follows_by_the_stated_share_and_does_not_learn() -> None:
    method = made("jepa")
    assert isinstance(method, ECGJEPA)
    with torch.no_grad():
        for weight in method.backbone.parameters():
            weight.add_(1.0)
    before = copy.deepcopy(dict(method.teacher.named_parameters()))
    method.after_step(0.25)
    pace = (1 - 0.996) * 0.75
    for name, weight in method.teacher.named_parameters():
        fast = dict(method.backbone.named_parameters())[name]
        torch.testing.assert_close(weight, before[name] + pace * (fast - before[name]))
        assert not weight.requires_grad


def test_the_jepa_loss_is_that_of_its_definition() -> None:
    """Smooth L1 between what the predictor says of hidden places and the teacher's normalised tokens."""
    method, one = made("jepa").eval(), batch(2)
    assert isinstance(method, ECGJEPA)
    torch.manual_seed(5)
    found = float(method(one)["loss"].detach())
    torch.manual_seed(5)
    from einthoven.layers.mask import block_times

    hidden = block_times(15, *method.hide)
    patches = method.backbone.patchify(one.ecg)
    taught = method.teacher.encode(patches).values.unflatten(1, (12, 15))
    total, count = 0.0, 0
    for record in range(2):
        keep = (~hidden).nonzero().flatten()
        where = torch.cat([lead * 15 + keep for lead in range(12)])[None]
        small = patches._replace(
            values=patches.values[record : record + 1], lead=patches.lead[:1], time=patches.time[:1]
        )
        visible = (
            method.backbone.encode(small.take(where, 12, aligned=False)).values[0].unflatten(0, (12, -1))
        )
        for lead in range(12):
            blanks = method.blank[0].expand(int(hidden.sum()), -1)
            sequence = torch.cat([method.bring(visible[lead]), blanks])[None]
            from einthoven.layers.attention import sincos

            code = sincos(torch.cat([keep, hidden.nonzero().flatten()]), 16)
            said = method.send(method.blocks(sequence, again=code[None]))[0, len(keep) :]
            target = F.layer_norm(taught[record, lead, hidden], [24])
            difference = (said - target).abs()
            total += float(
                torch.where(difference < 1, difference.square() / 2, difference - 0.5).sum().detach()
            )
            count += said.numel()
    assert found == pytest.approx(total / count, rel=1e-4)


def test_collapse_is_told() -> None:
    torch.manual_seed(0)
    alike = torch.randn(1, 5, 8).expand(ENOUGH, -1, -1) + 1e-4 * torch.randn(ENOUGH, 5, 8)
    one_way = torch.randn(ENOUGH, 1, 1) * torch.ones(1, 5, 8)
    healthy = torch.randn(ENOUGH, 5, 8)
    placed = torch.randn(1, 5, 8) + 0.04 * healthy  # as ECGs that only their places tell apart
    for tokens, told in ((alike, True), (one_way, True), (placed, True), (healthy, False)):
        measured = {name: float(value) for name, value in spread(Tokens(tokens)).items()}
        assert bool(collapsed(measured)) == told
    assert "effective_rank" not in spread(Tokens(healthy[:2]))


@torch.no_grad()
def test_a_guess_by_place_alone_is_the_mean_of_each_place() -> None:
    torch.manual_seed(0)
    method, one = made("jepa").eval(), batch(5)
    patches = method.backbone.patchify(one.ecg)  # type: ignore[operator]
    taught, hide = torch.randn(5, 180, 3), torch.stack([torch.randperm(180)[:7] for _ in range(5)])
    total, count = 0.0, 0
    for record in range(5):
        for place in hide[record].tolist():
            usual = sum(taught[other, place] for other in range(5)) / 5
            total += float(F.smooth_l1_loss(usual, taught[record, place], reduction="sum"))
            count += 3
    assert float(by_place(taught, patches, hide)) == pytest.approx(total / count, rel=1e-4)
    (told,) = method.alarms({"over_place": 1.2})  # type: ignore[operator]
    assert "learned where a patch is" in told and not method.alarms({"over_place": 0.9})  # type: ignore[operator]


@torch.no_grad()
def test_an_untrained_encoder_of_fixed_codes_sees_the_ecg_and_not_only_the_place() -> None:
    """The codes are added before every block; patches that begin small would drown in them."""
    torch.manual_seed(0)
    wants = Signal(seconds=2.5, scale="crop")
    table = {"name": "vit", "size": [48, 6, 4], "patch": 0.25, "code": "fixed", "attention": "cross_pattern"}
    backbone: PatchBackbone = parts.build("backbones", table, wants=wants)
    told = spread(backbone.encode(backbone.patchify(torch.randn(32, 12, 250))))
    assert float(told["feature_sd"]) > 0.2


def test_the_effective_rank_counts_directions() -> None:
    basis = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)))[0]
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]).repeat(8, 1)
    features = (signs @ basis[:2])[:, None]
    assert float(spread(Tokens(features))["effective_rank"]) == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("hide", [0.0, 1.0, -0.1])
@pytest.mark.parametrize("name", ["mae", "st_mem"])
def test_refuses_to_hide_nothing_or_all(name: str, hide: float) -> None:
    backbone = parts.build("backbones", SMALL | {"special": "sep"}, wants=WANTS)
    with pytest.raises(ValueError, match="above 0 and below 1"):
        parts.build("methods", {"name": name, "hide": hide}, backbone=backbone)


def test_refuses_what_it_cannot_read() -> None:
    with pytest.raises(ValueError, match="a patch of 5 s"):
        parts.build("backbones", {"name": "vit", "patch": 5.0}, wants=WANTS)
    with pytest.raises(ValueError, match="SEP tokens"):
        parts.build("methods", {"name": "st_mem"}, backbone=parts.build("backbones", SMALL, wants=WANTS))
    with pytest.raises(ValueError, match="needs a PatchBackbone"):
        parts.build("methods", {"name": "mae"}, backbone=parts.build("backbones", {"name": "resnet18"}))
    with pytest.raises(ValueError, match="cross_pattern"):
        parts.build("backbones", SMALL | {"attention": "cross_pattern", "special": "cls"}, wants=WANTS)
    with pytest.raises(ValueError, match="size is one of tiny"):
        parts.build("backbones", {"name": "vit", "size": [24, 2]}, wants=WANTS)


@pytest.mark.parametrize("hertz", [100, 250, 500])
def test_a_patch_is_as_long_at_every_rate(hertz: int) -> None:
    backbone: PatchBackbone = parts.build("backbones", SMALL | {"patch": 0.2}, wants=Signal(hertz=hertz))
    assert backbone.patch == (1, hertz // 5)
    assert backbone(torch.randn(1, 12, 10 * hertz)).values.shape == (1, 600, 24)


def test_patches_are_pieces_of_the_scaled_ecg() -> None:
    backbone: PatchBackbone = parts.build("backbones", SMALL | {"patch": 0.7}, wants=WANTS)
    one = batch(2)
    patches = backbone.patchify(one.ecg)
    assert patches.values.shape == (2, 12 * 4, 70)  # the last 0.2 s are left
    mean, sd = one.ecg[1].mean(), one.ecg[1].std(correction=0)
    torch.testing.assert_close(patches.values[1, 4 * 5 + 2], (one.ecg[1, 5, 140:210] - mean) / sd)
    assert (LEADS[patches.lead[1, 22]], int(patches.time[1, 22])) == ("aVF", 2)


def test_the_rank_is_that_of_full_precision() -> None:
    one_way = torch.randn(ENOUGH, 1, 1) * torch.ones(1, 5, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert float(spread(Tokens(one_way))["effective_rank"]) < 1.1


@each
def test_a_network_that_does_not_look_at_its_patches_is_found_out(which: str) -> None:
    """What is hidden differs from record to record, and must not pass for a difference between ECGs."""
    method, one = made(which).eval(), batch(ENOUGH)
    healthy = {name: float(value.detach()) for name, value in method(one).items()}
    healthy.pop("over_place", None)  # of what is learned, and this has learned nothing
    assert not method.alarms(healthy)
    networks = [method.backbone, method.teacher] if isinstance(method, ECGJEPA) else [method.backbone]
    with torch.no_grad():
        for network in networks:
            for weight in network.embed.parameters():  # type: ignore[union-attr]
                weight.zero_()
    blind = {name: float(value.detach()) for name, value in method(one).items()}
    blind.pop("over_place", None)
    (told,) = method.alarms(blind)
    assert "collapsed" in told
    assert method.train()(one).keys() == {"loss"}  # measured where it costs little


def test_what_cannot_be_hidden_is_refused_before_anything_runs() -> None:
    def refused(told: str, method: dict[str, object], **backbone: object) -> None:
        network = parts.build("backbones", SMALL | backbone, wants=WANTS)
        with pytest.raises(ValueError, match=told):
            parts.build("methods", method, backbone=network)

    refused("one patch has nothing to hide", {"name": "st_mem"}, patch=3.0, special="sep")
    refused("one patch has nothing to hide", {"name": "mae"}, patch=3.0, together=True)
    refused("one patch has nothing to hide", {"name": "ecg_jepa", "mask": "random"}, patch=3.0)
    refused("may hide all", {"name": "ecg_jepa"}, patch=0.75)
    refused("may hide all", {"name": "ecg_jepa", "hide": [0.2, 0.3]}, patch=0.2)
    refused("two shares", {"name": "ecg_jepa", "hide": [0.6]}, patch=0.2)
    refused(r"\[width, blocks, heads\]", {"name": "mae", "decoder": [128, 2]}, patch=0.2)
    refused(r"\[width, blocks, heads\]", {"name": "ecg_jepa", "predictor": [128, 2, 5]}, patch=0.2)
