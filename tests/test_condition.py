"""Conditions as data: the null rule, dropout, and what is refused."""

from __future__ import annotations

import pytest
import torch

from gencore.condition import Condition, Port, check_ports, concatenated, dropped, null_of, nulled
from gencore.conditioners.label import Labels
from gencore.errors import InputError
from gencore.nn.ports import LabelPort
from gencore.noise import Keyed

LABEL = Port("modulation", 10, torch.tensor(10))
TEXT = Port("cross_attention", 4, torch.zeros(4))
BARE = Port("modulation", 3)


def test_the_conditions_own_null_wins_over_the_ports() -> None:
    prompt = torch.ones(2, 5, 4)
    assert torch.equal(null_of("text", Condition(prompt), TEXT), torch.zeros(2, 5, 4))
    empty = torch.full((5, 4), 7.0)
    assert torch.equal(null_of("text", Condition(prompt, null=empty), TEXT), empty.expand(2, 5, 4))
    assert torch.equal(null_of("label", Condition(torch.tensor([3, 4])), LABEL), torch.tensor([10, 10]))


def test_an_undeclared_null_is_refused_by_name() -> None:
    vector = {"style": Condition(torch.ones(2, 3))}
    for ask in (lambda: nulled(vector, {"style": BARE}), lambda: dropped(vector, {"style": BARE}, 0.5, Keyed([0, 1]))):
        with pytest.raises(InputError, match=r"condition 'style': .*this network learned none; use guidance 1"):
            ask()
    own = {"style": Condition(torch.ones(2, 3), null=torch.zeros(3))}
    assert (nulled(own, {"style": BARE})["style"].value == 0).all()
    assert torch.equal(dropped(vector, {"style": BARE}, 0.0, Keyed([0, 1]))["style"].value, torch.ones(2, 3))


def test_nulling_some_leaves_the_others_and_the_originals() -> None:
    both = {
        "label": Condition(torch.tensor([3])),
        "text": Condition(torch.ones(1, 2, 4), torch.tensor([[True, False]])),
    }
    ports = {"label": LABEL, "text": TEXT}
    one = nulled(both, ports, ("label",))
    assert one["label"].value.item() == 10 and torch.equal(one["text"].value, both["text"].value)
    every = nulled(both, ports)
    assert (every["text"].value == 0).all() and torch.equal(every["text"].mask, both["text"].mask)
    assert both["label"].value.item() == 3


def test_dropout_has_its_rate_and_is_keyed_by_sample() -> None:
    n = 4000
    labels = {"label": Condition(torch.arange(n) % 10)}
    gone = dropped(labels, {"label": LABEL}, 0.3, Keyed(range(n)))["label"].value == 10
    assert abs(gone.float().mean().item() - 0.3) < 4 * (0.21 / n) ** 0.5
    # The same samples are dropped in any batch, and other purposes draw apart.
    part = {"label": Condition(torch.arange(n)[500:600] % 10)}
    again = dropped(part, {"label": LABEL}, 0.3, Keyed(range(500, 600)))["label"].value == 10
    assert torch.equal(again, gone[500:600])
    other = dropped({"l2": labels["label"]}, {"l2": LABEL}, 0.3, Keyed(range(n)))["l2"].value == 10
    both = (gone & other).float().mean().item()
    assert abs(both - 0.09) < 4 * (0.09 * 0.91 / n) ** 0.5
    # A larger rate drops a superset: the draw is one, the threshold moves.
    more = dropped(labels, {"label": LABEL}, 0.6, Keyed(range(n)))["label"].value == 10
    assert (more | ~gone).all()


def test_one_rate_a_condition() -> None:
    both = {"label": Condition(torch.zeros(50, dtype=torch.long)), "text": Condition(torch.ones(50, 2, 4))}
    out = dropped(both, {"label": LABEL, "text": TEXT}, {"text": 1.0}, Keyed(range(50)))
    assert (out["text"].value == 0).all() and (out["label"].value == 0).all()


def test_ports_and_conditions_must_match() -> None:
    with pytest.raises(InputError, match="condition: got 'lable'; accepted: label"):
        check_ports({"lable": Condition(torch.zeros(1))}, {"label": LABEL})
    with pytest.raises(InputError, match="condition 'label': got nothing"):
        check_ports({}, {"label": LABEL})
    with pytest.raises(InputError, match="takes none"):
        check_ports({"label": Condition(torch.zeros(1))}, {})


def test_branches_join_along_the_batch_with_their_masks() -> None:
    a = {"text": Condition(torch.zeros(2, 3, 4), torch.ones(2, 3, dtype=torch.bool))}
    b = {"text": Condition(torch.ones(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool))}
    joined = concatenated([a, b])["text"]
    assert joined.value[:, 0, 0].tolist() == [0, 0, 1, 1] and joined.mask is not None
    assert joined.mask[:, 0].tolist() == [True, True, False, False]


def test_labels_by_number_name_and_absence() -> None:
    words = Labels(3, ["cat", "dog", "fox"])
    count, conditions = words({"label": ["dog", 2, "0"]}, None)
    assert count == 3 and conditions["label"].value.tolist() == [1, 2, 0]
    assert words({}, 2)[1]["label"].value.tolist() == [3, 3]
    assert words({"label": 1}, 3)[1]["label"].value.tolist() == [1, 1, 1]
    assert words({"label": torch.tensor([1, 2])}, None)[1]["label"].value.tolist() == [1, 2]
    for bad in ("dgo", 3, -1, True, 1.5):
        with pytest.raises(InputError, match="label: got"):
            words({"label": bad}, None)
    with pytest.raises(InputError, match="did you mean 'dog'"):
        words({"label": "dgo"}, None)
    with pytest.raises(InputError, match="2 labels for n=3"):
        words({"label": [0, 1]}, 3)
    with pytest.raises(InputError, match="learned no null"):
        Labels(3, null=False)({}, None)


def test_the_null_row_is_the_row_after_the_classes() -> None:
    port = LabelPort(8, 5)
    assert port.table.num_embeddings == 6 and port.port.null is not None and port.port.null.item() == 5
    assert LabelPort(8, 5, null=False).port.null is None
