import torch

from flowgrad.trackers.flow.samples import SAMPLE, GradientSamples, sampled


def gradient(seed, size):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def look(samples, gradients, scale=None):
    samples.begin()
    samples.take(gradients, scale)
    places, products = samples.end()
    return {i: (float(last), float(own)) for i, last, own in zip(places, *products.view(2, -1), strict=True)}


def test_products_are_those_of_the_samples():
    samples = GradientSamples(4, torch.device("cpu"))
    first = {2: gradient(0, 50), 0: gradient(1, 3 * SAMPLE)}
    found = look(samples, first)
    assert found == {i: (0.0, float(sampled(g).square().sum())) for i, g in first.items()}
    second = {2: gradient(2, 50), 3: gradient(3, 10)}
    found = look(samples, second, torch.tensor(2.0))
    torch.testing.assert_close(found[2][0], float(first[2] @ second[2]) / 2)
    assert found[0] == (0.0, 0.0), "it had no gradient"
    torch.testing.assert_close(found[3], (0.0, float(second[3].square().sum()) / 4))
    norms = samples.norms()
    torch.testing.assert_close(
        norms[0],
        torch.stack(
            [sampled(first[0]).norm(), torch.tensor(0.0), (first[2] + second[2] / 2).norm(), second[3].norm() / 2]
        ),
    )


def test_a_state_goes_on_where_it_was():
    samples, loaded = (GradientSamples(3, torch.device("cpu")) for _ in range(2))
    look(samples, {1: gradient(0, 20)})
    samples.turn()
    look(samples, {2: gradient(1, 20)})
    state = samples.state_dict()
    assert {rows.shape for rows in state.values()} == {(3, SAMPLE)}
    loaded.load_state_dict(state)
    following = {1: gradient(2, 20), 2: gradient(3, 20)}
    assert look(loaded, following) == look(samples, following)
    assert torch.equal(loaded.norms(), samples.norms())
