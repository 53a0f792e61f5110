import numpy as np
import pytest
from scipy import optimize

from reward.answers import Order
from reward.calibration import Calibration
from reward.dimensions import EVENT_FOLLOWING
from reward.errors import InputError
from reward.fitting import (
    LEAST_SLOPE,
    IdentityFit,
    IsotonicFit,
    OrderTemperatureFit,
    PlattFit,
    logit,
    make_fit,
    sigmoid,
    smoothed,
)


def miscalibrated(n=4000, a=0.5, b=-0.8, seed=0):
    """Probabilities that a and b set right."""
    rng = np.random.default_rng(seed)
    p = sigmoid(rng.normal(0, 2, n))
    return p, (rng.random(n) < sigmoid(a * logit(p) + b)).astype(float)


def test_smoothed_targets_by_hand():
    assert smoothed(np.array([1.0, 1.0, 1.0, 0.0])) == pytest.approx([0.8, 0.8, 0.8, 1 / 3])


def test_platt_by_hand_on_two_points():
    """With one Yes at logit 1 and one No at logit -1 the smoothed targets 2/3 and 1/3 are met exactly: a = log 2."""
    fit = PlattFit().fit(sigmoid(np.array([1.0, -1.0])), np.array([1.0, 0.0]))
    assert (fit.a_, fit.b_) == (pytest.approx(np.log(2), abs=1e-6), pytest.approx(0, abs=1e-6))
    assert PlattFit(with_intercept=False).fit(sigmoid(np.array([1.0, -1.0])), np.array([1.0, 0.0])).a_ == (
        pytest.approx(np.log(2), abs=1e-6)
    )


def test_platt_finds_the_true_parameters_within_its_covariance():
    errors = []
    for seed in range(30):
        fit = PlattFit().fit(*miscalibrated(1500, seed=seed))
        errors.append((np.array([fit.a_, fit.b_]) - [0.5, -0.8]) / np.sqrt(np.diag(fit.covariance_)))
    assert np.mean(errors) == pytest.approx(0, abs=0.5)
    assert np.std(errors) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("with_intercept", [True, False])
def test_the_fit_equals_a_general_optimiser(with_intercept):
    p, y = miscalibrated(500)
    targets = smoothed(y)

    def loss(theta):
        q = sigmoid(theta[0] * logit(p) + (theta[1] if with_intercept else 0))
        return -(targets * np.log(q) + (1 - targets) * np.log(1 - q)).sum()

    found = optimize.minimize(loss, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    fit = PlattFit(with_intercept).fit(p, y)
    assert fit.a_ == pytest.approx(found.x[0], abs=1e-4)
    assert fit.b_ == pytest.approx(found.x[1] if with_intercept else 0, abs=1e-4)


def test_the_covariance_is_the_inverse_of_the_numerical_hessian():
    p, y = miscalibrated(300)
    fit = PlattFit().fit(p, y)
    targets, h = smoothed(y), 1e-4

    def loss(a, b):
        q = sigmoid(a * logit(p) + b)
        return -(targets * np.log(q) + (1 - targets) * np.log(1 - q)).sum()

    a, b = fit.a_, fit.b_
    aa = (loss(a + h, b) - 2 * loss(a, b) + loss(a - h, b)) / h**2
    bb = (loss(a, b + h) - 2 * loss(a, b) + loss(a, b - h)) / h**2
    ab = (loss(a + h, b + h) - loss(a + h, b - h) - loss(a - h, b + h) + loss(a - h, b - h)) / (4 * h**2)
    assert fit.covariance_ == pytest.approx(np.linalg.inv(np.array([[aa, ab], [ab, bb]])), rel=1e-3)


def test_answers_of_one_prompt_that_repeat_each_other_are_no_news():
    p, y = miscalibrated(300)
    once = PlattFit().fit(p, y, np.arange(300))
    ten = PlattFit().fit(np.repeat(p, 10), np.repeat(y, 10), np.repeat(np.arange(300), 10))
    blind = PlattFit().fit(np.repeat(p, 10), np.repeat(y, 10))
    assert np.diag(ten.covariance_) == pytest.approx(np.diag(once.covariance_), rel=0.1)
    assert np.all(np.diag(blind.covariance_) < np.diag(ten.covariance_) / 5)


def test_separable_and_one_sided_answers_have_finite_fits():
    fit = PlattFit().fit(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.0, 0.0, 1.0, 1.0]))
    assert np.isfinite([fit.a_, fit.b_, *fit.covariance_.ravel()]).all()
    assert 0.5 < fit.predict(np.array([0.9]))[0] < 1
    for y in (np.ones(5), np.zeros(5)):
        one = PlattFit().fit(np.linspace(0.1, 0.9, 5), y)
        assert np.isfinite([one.a_, one.b_]).all()


def test_a_critic_that_is_wrong_is_flattened_never_turned_around():
    p, y = miscalibrated(1000, a=-1.0, b=0.3)
    fit = PlattFit().fit(p, y)
    assert fit.a_ == LEAST_SLOPE
    assert fit.predict(np.array([0.01, 0.99])) == pytest.approx(y.mean(), abs=0.01)
    assert fit.covariance_[0, 0] == 0 < fit.covariance_[1, 1]


@pytest.mark.parametrize("method", ["temperature", "platt", "isotonic"])
def test_the_saved_map_predicts_what_the_fit_does(method):
    p, y = miscalibrated(400)
    fit = make_fit(method).fit(p, y)
    grid = np.concatenate([[0.0, 1.0], np.random.default_rng(5).random(50)])
    assert [fit.map_.apply(float(each)) for each in grid] == pytest.approx(fit.predict(grid), abs=1e-12)
    assert np.all(np.diff(fit.predict(np.sort(grid))) >= 0)
    assert 0 < fit.predict(grid).min() <= fit.predict(grid).max() < 1


def test_isotonic_by_hand():
    """0.2 and 0.3 violate the order (1 then 0) and are pooled to a half; the ends keep 1 / 7 from 0 and 1."""
    fit = IsotonicFit().fit(np.array([0.1, 0.2, 0.3, 0.6, 0.8]), np.array([0.0, 1.0, 0.0, 1.0, 1.0]))
    grid = np.array([0.05, 0.1, 0.2, 0.25, 0.3, 0.45, 0.6, 0.9])
    middle = (0.5 + 6 / 7) / 2
    assert fit.predict(grid) == pytest.approx([1 / 7, 1 / 7, 0.5, 0.5, 0.5, middle, 6 / 7, 6 / 7])


def pool_adjacent_violators(y, w):
    blocks = []
    for value, weight in zip(y, w, strict=True):
        blocks.append([value, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (v1, w1, n1), (v2, w2, n2) = blocks[-2:]
            blocks[-2:] = [[(v1 * w1 + v2 * w2) / (w1 + w2), w1 + w2, n1 + n2]]
    return np.concatenate([[value] * n for value, _, n in blocks])


def test_isotonic_equals_pooling_adjacent_violators():
    rng = np.random.default_rng(6)
    p = rng.integers(0, 40, 300) / 40
    y = (rng.random(300) < p).astype(float)
    values, counts = np.unique(p, return_counts=True)
    means = np.array([y[p == value].mean() for value in values])
    expected = np.clip(pool_adjacent_violators(means, counts), 1 / 302, 1 - 1 / 302)
    assert IsotonicFit().fit(p, y).predict(values) == pytest.approx(expected)


def order_of(rng, a):
    """A distribution over orders of two events, and an order drawn from it sharpened by a."""
    p = rng.dirichlet(np.ones(5))
    names = ["", "A", "B", "AB", "BA"]
    sharp = p**a / (p**a).sum()
    return Order(2, dict(zip(names, p.tolist(), strict=True))), names[rng.choice(5, p=sharp)]


def test_the_order_temperature_is_found_again_and_applied():
    rng = np.random.default_rng(7)
    orders, truths = zip(*(order_of(rng, 2.0) for _ in range(1500)), strict=True)
    fit = OrderTemperatureFit().fit(orders, truths)
    assert abs(fit.a_ - 2.0) < 3 * fit.variance_**0.5 < 0.5
    losses = {
        a: -sum(
            np.log(order.probabilities[truth] ** a / sum(p**a for p in order.probabilities.values()))
            for order, truth in zip(orders, truths, strict=True)
        )
        for a in (fit.a_ - 0.05, fit.a_, fit.a_ + 0.05)
    }
    assert min(losses, key=losses.get) == fit.a_
    sharpened = Calibration(maps={EVENT_FOLLOWING: fit.map_}).order(orders[0])
    p = np.array(list(orders[0].probabilities.values())) ** fit.a_
    assert list(sharpened.probabilities.values()) == pytest.approx(p / p.sum())


def test_orders_that_are_always_right_stop_at_the_bound():
    fit = OrderTemperatureFit().fit([Order(1, {"": 0.4, "A": 0.6})] * 10, ["A"] * 10)
    assert fit.a_ == pytest.approx(20, rel=0.01)
    assert fit.variance_ == 0


def test_nothing_to_fit_is_an_error():
    for fit in (PlattFit(), IsotonicFit()):
        with pytest.raises(InputError, match="as many answers as probabilities"):
            fit.fit(np.array([]), np.array([]))
    with pytest.raises(InputError, match="no event order"):
        OrderTemperatureFit().fit([], [])
    assert IdentityFit().fit(np.array([]), np.array([])).predict(np.array([0.3])) == [0.3]
