from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gencore.errors import CheckpointError, InputError
from gencore.noise import Keyed
from gencore_images.baseline import fit_class_gaussian
from gencore_images.features import FOLDER, REPORTER, SELECTOR, TRUNKS, DigitClassifier, load_classifier
from gencore_images.metrics import copied_fraction, evaluate, evaluate_classes, extract, frechet

DIGITS = np.load(Path(__file__).parent / "data" / "digits.npz")
IMAGES = torch.from_numpy(DIGITS["images"])[:, None].float() / 127.5 - 1
LABELS = torch.from_numpy(DIGITS["labels"]).long()
EVEN, ODD = slice(0, None, 2), slice(1, None, 2)


@pytest.fixture(scope="module", params=[SELECTOR, REPORTER])
def classifier(request):
    return load_classifier(request.param)


def test_packaged_classifiers_are_small_and_say_how_good_they_are(classifier):
    assert (FOLDER / f"{classifier.name}.safetensors").stat().st_size < 300_000
    assert float(classifier.facts["accuracy"]) >= 0.985
    assert classifier.facts["name"] == classifier.name
    assert not classifier.training and not any(p.requires_grad for p in classifier.parameters())


def test_they_recognise_held_out_digits(classifier):
    assert evaluate_classes(IMAGES, LABELS, classifier) >= 0.975
    assert evaluate_classes(IMAGES, (LABELS + 1) % 10, classifier) <= 0.025
    assert evaluate_classes(IMAGES.flip(-1), LABELS, classifier) < 0.8


def test_batches_do_not_change_anything(classifier):
    assert np.allclose(extract(IMAGES, classifier, 7), extract(IMAGES, classifier), atol=1e-5)
    assert evaluate_classes(IMAGES, LABELS, classifier, 7) == evaluate_classes(IMAGES, LABELS, classifier)


def test_the_two_are_different_networks():
    a, b = (set(DigitClassifier(name).state_dict()) for name in TRUNKS)
    assert a != b


def test_loading_draws_nothing_from_the_global_generator():
    before = torch.random.get_rng_state()
    load_classifier(SELECTOR)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    "bad", [torch.zeros(2, 1, 32, 32), torch.zeros(2, 28, 28), torch.zeros(2, 1, 28, 28, dtype=torch.uint8)]
)
def test_other_pictures_are_refused(classifier, bad):
    with pytest.raises(InputError, match=r"\(B, 1, 28, 28\) float"):
        classifier.logits(bad)


def test_unknown_and_missing_classifiers(tmp_path):
    with pytest.raises(InputError, match="did you mean"):
        load_classifier("digit-cnn-c")
    with pytest.raises(CheckpointError, match="no such file"):
        load_classifier(SELECTOR, tmp_path)


def test_labels_must_match_the_samples(classifier):
    with pytest.raises(InputError, match="labels"):
        evaluate_classes(IMAGES, LABELS[:-1], classifier)


def test_frechet_orders_damage(classifier):
    noise = Keyed(range(100)).draw("normal", ("damage",), (1, 28, 28))
    real = IMAGES[ODD]
    same, clean, hurt, ruined = (
        frechet(x, real, classifier)
        for x in (real, IMAGES[EVEN], (IMAGES[EVEN] + 0.5 * noise).clamp(-1, 1), noise.clamp(-1, 1))
    )
    assert abs(same) < 1e-6 < clean < hurt < ruined


def test_copies_are_found(classifier):
    train, held_out = IMAGES[EVEN], IMAGES[ODD]
    assert copied_fraction(train, train, held_out, classifier) == 1
    assert copied_fraction(held_out, train, held_out, classifier) == pytest.approx(0.01, abs=0.011)
    assert copied_fraction(-train, train, held_out, classifier) == 0


def test_gaussian_baseline_has_the_moments_of_its_data():
    n = 4000
    true_mean, axis = torch.tensor([[0.1, -0.2, 0.0, 0.3], [0.5, 0.0, -0.5, 0.2]]), torch.tensor([0.1, 0.1, -0.1, 0.05])
    labels = torch.arange(n) % 2
    z = Keyed(range(n)).draw("normal", ("data",), (1,))
    images = (true_mean[labels] + z * axis).view(n, 1, 2, 2)
    model = fit_class_gaussian(images, labels, components=2)
    assert torch.allclose(model.mean.float(), true_mean, atol=0.01)
    assert model.basis[:, -1].norm(dim=1).numpy() == pytest.approx(axis.norm().item(), rel=0.05)
    assert model.basis[:, 0].abs().max() < 1e-6
    samples = model.sample(labels, Keyed(range(n)))
    assert samples.shape == images.shape and samples.dtype == torch.float32
    for label in (0, 1):
        mine, theirs = (x[labels == label].flatten(1).double() for x in (samples, images))
        assert torch.allclose(torch.cov(mine.T), torch.cov(theirs.T), atol=2e-3)


def test_gaussian_samples_depend_on_their_own_seed_only():
    model = fit_class_gaussian(IMAGES, LABELS, 10)
    all_of_them = model.sample(torch.arange(10), Keyed(range(10)))
    assert torch.equal(model.sample(torch.tensor([4]), Keyed([4]))[0], all_of_them[4])
    assert not torch.equal(model.sample(torch.tensor([4]), Keyed([5]))[0], all_of_them[4])
    assert all_of_them.abs().max() <= 1


def test_gaussian_refuses_what_it_cannot_fit():
    with pytest.raises(InputError, match="0 images of class 1"):
        fit_class_gaussian(IMAGES[:20], LABELS[:20] * 2 + 2 * (torch.arange(20) > 9), 3)
    with pytest.raises(InputError, match=r"1\.\.784"):
        fit_class_gaussian(IMAGES, LABELS, 785)


def test_the_whole_report():
    classifier = load_classifier(REPORTER)
    real = IMAGES[ODD], LABELS[ODD]
    report = evaluate(real, real, (IMAGES[EVEN], LABELS[EVEN]), classifier)
    assert report["extractor"] == "digit-cnn-b" and report["samples"] == 100
    # As many samples as training digits: the choice of real digits is all of them, so model and real agree.
    for what in ("accuracy", "frechet", "precision", "recall"):
        assert report[f"{what}_model"] == pytest.approx(report[f"{what}_real"])
    assert float(report["frechet_gaussian"]) > float(report["frechet_real"])
    assert report["copied_model"] == 1
    with pytest.raises(InputError, match="at most 100"):
        evaluate((IMAGES, LABELS), real, real, classifier)
