import numpy as np
import pytest

from reward.answers import Order
from reward.calibrator import Answers, Calibrator, Orders, cross_fitted, cross_fitted_orders, order_losses, prompt_folds
from reward.dimensions import EVENT_FOLLOWING
from reward.errors import InputError
from reward.fitting import logit, sigmoid
from reward.metrics import nll


def answers(n=1200, a=0.5, b=-0.8, dimension="mechanics", seed=0, per_prompt=4):
    rng = np.random.default_rng(seed)
    p = sigmoid(rng.normal(0, 2, n))
    y = (rng.random(n) < sigmoid(a * logit(p) + b)).astype(float)
    prompts = np.array([f"p{i // per_prompt}" for i in range(n)], object)
    return Answers(p, y, np.full(n, dimension, object), prompts)


def joined(*parts):
    return Answers(*(np.concatenate([getattr(each, name) for each in parts]) for name in ("p", "y", "dimension")),
                   np.concatenate([each.prompt for each in parts]))  # fmt: skip


def loss(p, data):
    return nll(p, data.y, np.ones(len(data)))


def test_a_dimension_gets_its_own_map_only_with_errors_enough():
    data = joined(answers(), answers(40, 3.0, 0.5, "depth_3d", 1))
    few = Calibrator(method="platt").fit(data)
    assert set(few.maps_) == {"pooled", "mechanics"}
    assert (few.map_name("depth_3d"), few.map_name("mechanics")) == ("pooled", "mechanics")
    assert set(Calibrator(method="platt", min_errors=1).fit(data).maps_) == {"pooled", "mechanics", "depth_3d"}
    assert set(Calibrator(method="platt", min_errors=10_000).fit(data).maps_) == {"pooled"}


def test_auto_takes_the_method_of_least_held_out_loss():
    fitted = Calibrator().fit(answers())
    scores = fitted.held_out_nll_["pooled"]
    assert fitted.methods_["pooled"] == min(scores, key=scores.get) == "platt"
    assert scores["none"] > scores["temperature"] > scores["platt"]
    only_scale = Calibrator().fit(answers(a=0.4, b=0.0, seed=3))
    assert only_scale.methods_["pooled"] in ("temperature", "platt")


def test_auto_leaves_calibrated_answers_alone_or_nearly_so():
    data = answers(a=1.0, b=0.0)
    fitted = Calibrator(min_errors=10_000).fit(data)
    assert loss(fitted.predict(data.p, data.dimension), data) == pytest.approx(loss(data.p, data), abs=0.005)


def test_no_map_at_all_is_no_change():
    data = answers()
    fitted = Calibrator(method="none").fit(data)
    assert fitted.maps_ == {}
    assert fitted.predict(data.p, data.dimension).tolist() == data.p.tolist()


def test_a_dimension_whose_own_map_is_none_is_not_put_through_the_pooled_one():
    right = answers(3000, 1.0, 0.0, "depth_3d", 5)
    fitted = Calibrator().fit(joined(answers(3000), right))
    if fitted.methods_["depth_3d"] == "none":
        assert (fitted.maps_["depth_3d"].a, fitted.maps_["depth_3d"].b) == (1, 0)
    saved = fitted.calibration("0" * 64, {})
    for name in ("mechanics", "depth_3d", "camera_control"):
        predicted = fitted.predict(np.array([0.3]), np.array([name], object))[0]
        assert saved.p_yes(name, 0.3) == pytest.approx(predicted)


def test_cross_fitting_never_sees_the_prompt_it_predicts():
    """Answers that differ from prompt to prompt by chance alone: within the fit isotonic looks better than it is."""
    rng = np.random.default_rng(8)
    n = 60
    data = Answers(rng.random(n), rng.integers(0, 2, n).astype(float), np.full(n, "mechanics", object),
                   np.array([f"p{i}" for i in range(n)], object))  # fmt: skip
    calibrator = Calibrator(method="isotonic", min_errors=1)
    inside = loss(calibrator.fit(data).predict(data.p, data.dimension), data)
    assert inside < np.log(2) < loss(cross_fitted(calibrator, data), data)


def test_folds_keep_prompts_whole_and_are_never_empty():
    prompts = np.array(["a", "b", "a", "c", "c", "c"], object)
    parts = prompt_folds(prompts, 5, 0)
    assert parts[0] == parts[2]
    assert len(set(parts[3:])) == 1
    assert set(parts) == {0, 1, 2}


def test_event_orders_get_a_temperature_under_the_same_rule():
    rng = np.random.default_rng(9)
    predicted, truth = [], []
    for _ in range(300):
        p = rng.dirichlet(np.ones(3))
        predicted.append(Order(1, dict(zip(["", "A", "B"], p.tolist(), strict=True))))
        truth.append(["", "A", "B"][rng.choice(3, p=p**3 / (p**3).sum())])
    orders = Orders(predicted, truth, [f"p{i // 3}" for i in range(300)])
    fitted = Calibrator(method="platt").fit(answers(), orders)
    assert fitted.maps_[EVENT_FOLLOWING].a == pytest.approx(3, abs=1)
    after = cross_fitted_orders(fitted, orders)
    assert order_losses(after, truth).mean() < order_losses(predicted, truth).mean() - 0.05
    assert EVENT_FOLLOWING not in Calibrator(method="platt", orders=False).fit(answers(), orders).maps_
    unchanged = Calibrator(method="platt", min_errors=500).fit(answers(), orders)
    assert cross_fitted_orders(unchanged, orders) == predicted


def test_what_cannot_be_fitted_is_an_error():
    with pytest.raises(InputError, match="8 answers of 1 prompts"):
        Calibrator().fit(answers(8, per_prompt=8))
    one_sided = answers(8)
    with pytest.raises(InputError, match="needs Yes and No"):
        Calibrator().fit(Answers(one_sided.p, np.ones(8), one_sided.dimension, one_sided.prompt))
