"""Style transfer: what its loss asks for, and that each image is normalized by itself."""

from __future__ import annotations

import torch

from edgekit import zoo
from edgekit.data import tasks
from edgekit.zoo.style_transfer import pytorch as style_transfer


def images() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Labels, and the content and the painting in them, channels first."""
    labels = tasks.load("stylized", "selection", 4).labels
    assert labels is not None
    content, painting = torch.from_numpy(labels).movedim(-1, 2).unbind(1)
    return torch.from_numpy(labels), content, painting


def test_the_loss_asks_for_content_for_style_and_for_little_variation(monkeypatch) -> None:
    labels, content, painting = images()

    def alone(part: str, answer: torch.Tensor) -> float:
        for name in ("CONTENT", "STYLE", "VARIATION"):
            monkeypatch.setattr(style_transfer, name, float(name == part))
        return float(style_transfer.loss(answer, labels))

    assert alone("CONTENT", content) == 0.0 < alone("CONTENT", painting)
    assert alone("STYLE", painting) < 1e-6 < alone("STYLE", content)
    # Gram matrices do not know where in the picture strokes are; but for the edges, nor do the features.
    assert alone("STYLE", painting.roll((12, 12), (2, 3))) < 0.1 * alone("STYLE", content)
    assert alone("VARIATION", torch.ones_like(content)) == 0.0 < alone("VARIATION", content)


def test_the_loss_draws_no_random_numbers() -> None:
    labels, content, _ = images()
    style_transfer._judge.cache_clear()
    before = torch.get_rng_state()
    style_transfer.loss(content, labels)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_features_stay_what_they_are() -> None:
    labels, content, _ = images()
    content.requires_grad_()
    style_transfer.loss(content, labels).backward()
    assert content.grad is not None and content.grad.abs().sum() > 0
    judge = style_transfer._judge()
    assert not judge.training
    assert all(p.grad is None and not p.requires_grad for p in judge.parameters())


def test_an_image_is_normalized_by_itself_in_training_too() -> None:
    _, content, _ = images()
    model = style_transfer.build(**zoo.architecture("style_transfer").configs["tiny"].settings).eval()
    with torch.no_grad():
        alone, among = model(content[:1]), model.train()(content)
    torch.testing.assert_close(among[:1], alone, rtol=0, atol=1e-5)
    assert among.abs().max() <= 1
