"""An ECG with its report, and always the ECG alone: the same weights serve without reports."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from einthoven.layers.beside import Words
from einthoven.layers.pool import mean
from einthoven.layers.several import Heads, Losses
from einthoven.types import Backbone, Batch, Fusion, Method, Outputs, Text, Tokens

__all__ = ["WithReport"]


class WithReport(Method):
    """Three answers by three copies of the heads: from the ECG, from both, from the report.

    The plain names (`logits`, `features`) read the ECG alone and are what is deployed; `fused/...` reads the
    fused tokens, `text/...` the report's. Each learns by all losses of the recipe, with equal weights; the
    report's answer by the rows that have one. In training the fused answer does without the report for the
    share `drop_text` of the rows, and without the ECG for the share `drop_ecg` of those that keep a report.
    Where a side is missing or dropped stands a learned token.

    `[head] lr` holds for the heads of the ECG; their copies learn at [train] lr. `[head] start` and `freeze`
    hold for all three.
    """

    def __init__(
        self,
        backbone: Backbone,
        heads: Heads,
        losses: Losses,
        text: Text,
        fusion: Fusion,
        *,
        drop_text: float = 0.5,
        drop_ecg: float = 0.1,
    ):
        super().__init__()
        if not (0 <= drop_text <= 1 and 0 <= drop_ecg <= 1):
            raise ValueError(
                "Method 'fusion' needs drop_text and drop_ecg from 0 to 1, "
                f"got {drop_text:g} and {drop_ecg:g}."
            )
        self.backbone, self.heads, self.losses = backbone, heads, losses
        self.text, self.fusion = text, fusion
        self.fused_heads, self.text_heads = deepcopy(heads), deepcopy(heads)
        self.words = Words(text.dim, backbone.dim)
        self.drop_text, self.drop_ecg = drop_text, drop_ecg
        self.no_text = nn.Parameter(0.02 * torch.randn(1, 1, text.dim))
        self.no_ecg = nn.Parameter(0.02 * torch.randn(1, 1, backbone.dim))

    def outputs(self, batch: Batch) -> Outputs:
        """Answer by the ECG, by both, and by the report, as far as there is one."""
        answers, _ = self.answers(batch)
        outputs = answers["ecg"]
        for side in ("fused", "text"):
            outputs |= {f"{side}/{name}": value for name, value in answers[side].items()}
        return outputs

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Learn."""
        answers, told = self.answers(batch)
        each = {side: self.losses(answers[side], batch) for side in ("ecg", "fused")}
        each["text"] = self.losses_where(told, answers["text"], batch)
        logs = {"loss": torch.stack([logs["loss"] for logs in each.values()]).sum()}
        for side, lost in each.items():
            logs |= {f"loss/{side}/{name}": lost[f"loss/{name}"] for name in self.losses.losses}
        return logs

    def answers(self, batch: Batch) -> tuple[dict[str, Outputs], Bool[Tensor, " batch"]]:
        """Answer in three ways, and say which rows have a report."""
        texts = batch.text or ("",) * len(batch.row)
        words: Tokens = self.text(texts)
        self.refuse_one_word(words, texts)
        ecg: Tokens = self.backbone(batch.ecg, batch.leads)
        seen, told = there(ecg), there(words)
        heard = told
        if self.training:
            luck = torch.rand(2, len(told), device=told.device)
            heard = told & (luck[0] >= self.drop_text)
            seen = seen & ~(heard & (luck[1] < self.drop_ecg))
        fused = self.fusion(self.shown(ecg, seen), self.spoken(words, heard))
        said: Tokens = self.words(self.spoken(words, told))
        said = said._replace(special=mean(said)[:, None])  # for heads that pool special tokens
        read = {"ecg": self.heads(ecg), "fused": self.fused_heads(fused), "text": self.text_heads(said)}
        return read, told

    def shown(self, ecg: Tokens, seen: Bool[Tensor, " batch"]) -> Tokens:
        """Put the learned token at all places of an ECG that is not seen."""
        which, blank = seen[:, None, None], self.no_ecg.to(ecg.values.dtype)
        special = None if ecg.special is None else torch.where(which, ecg.special, blank)
        real = None if ecg.real is None else ecg.real | ~seen[:, None]
        return Tokens(torch.where(which, ecg.values, blank), real, special)

    def spoken(self, words: Tokens, heard: Bool[Tensor, " batch"]) -> Tokens:
        """Put the learned token, in a column of its own, where no word is heard."""
        real = torch.ones_like(words.values[..., 0], dtype=torch.bool) if words.real is None else words.real
        blank = self.no_text.to(words.values.dtype).expand(len(heard), -1, -1)
        which = heard[:, None]
        return Tokens(torch.cat([blank, words.values], 1), torch.cat([~which, real & which], 1))

    def losses_where(self, told: Bool[Tensor, " batch"], outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of the rows that have a report; without any, zeros with a gradient."""
        rows = told.nonzero()[:, 0]
        if len(rows):
            some = Outputs({name: value[rows] for name, value in outputs.items()})
            losses: dict[str, Tensor] = self.losses(some, replace(batch, ecg=batch.ecg[..., :0]).take(rows))
            return losses
        zero = torch.stack([value.float().sum() for value in outputs.values()]).sum() * 0
        return dict.fromkeys(["loss", *(f"loss/{name}" for name in self.losses.losses)], zero)

    def refuse_one_word(self, words: Tokens, texts: Sequence[str]) -> None:
        """Refuse, when training begins, attention to words where there is one token for all of them."""
        if not (self.training and self.fusion.needs_words) or words.values.shape[1] != 1:
            return
        if any(len(text.split()) > 1 for text in texts):
            raise ValueError(
                f"{type(self.fusion).__name__} attends to single words, and {type(self.text).__name__} gives "
                "one token for a whole report: say --set fusion.name=gated (or concat, film, sum), or "
                "choose a [text] that gives a token per word."
            )


def there(tokens: Tokens) -> Bool[Tensor, " batch"]:
    """Say which rows have any real token."""
    if tokens.real is None:
        return torch.full(tokens.values.shape[:1], tokens.values.shape[1] > 0, device=tokens.values.device)
    return tokens.real.any(1)
