"""What needs optional packages: other scores of pairs, and pictures."""

import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from flowgrad import FeatureAnalyzer, FlowGradError


@pytest.fixture(scope="module")
def analyzer():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(500, 5)), columns=list("abcde"))
    return FeatureAnalyzer(X, X["a"] * X["d"] + X["b"] ** 2 + 0.5 * rng.normal(size=500))


@pytest.mark.parametrize(("method", "package"), [("xgboost_shap", "xgboost"), ("fast", "interpret")])
def test_other_scores(analyzer, method, package):
    pytest.importorskip(package)
    found = analyzer.interactions(method, top=3)
    assert list(found.columns) == ["first", "second", "score"]
    assert found.loc[0, ["first", "second"]].tolist() == ["a", "d"]
    assert found["score"].is_monotonic_decreasing
    assert len(found) == 3
    pd.testing.assert_frame_equal(found, analyzer.interactions(method, top=3))


MISSING = {
    "xgboost": ("interactions('xgboost_shap')", "method='xgboost_shap' needs xgboost: pip install 'flowgrad[xgboost]'"),
    "interpret": ("interactions('fast')", "method='fast' needs interpret: pip install 'flowgrad[interpret]'"),
    "matplotlib": ("plot_interactions('x.png')", "a plot needs matplotlib: pip install 'flowgrad[plots]'"),
}


def test_without_a_package_the_error_names_the_extra():
    """Each package is missing in its turn, in one Python that has imported none of them."""
    code = f"""if True:
        import sys
        class Without:
            package = ""
            def find_spec(self, name, path=None, target=None):
                if name == self.package:
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        without = Without()
        sys.meta_path.insert(0, without)
        import numpy as np
        from flowgrad import FeatureAnalyzer
        rng = np.random.default_rng(0)
        analyzer = FeatureAnalyzer(rng.normal(size=(50, 3)), rng.normal(size=50))
        for without.package, call in {[(package, call) for package, (call, _) in MISSING.items()]}:
            assert without.package not in sys.modules
            try:
                eval("analyzer." + call)
            except ImportError as error:
                print(error)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [message for _, message in MISSING.values()]


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_picture_repeats_byte_for_byte(analyzer, ending, tmp_path):
    plt.rcParams["axes.titlesize"] = 30
    open_before = plt.get_fignums()
    paths = [tmp_path / f"{place}.{ending}" for place in range(2)]
    for path in paths:
        analyzer.plot_interactions(path, columns=4)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert len(paths[0].read_bytes()) > 3000
    assert plt.get_fignums() == open_before


def test_without_a_pair_there_is_no_picture(tmp_path):
    """Of columns that exclude each other, the product is 0 everywhere: an empty picture was drawn, with warnings."""
    kind = np.arange(90) % 3
    X = pd.DataFrame({"a": kind == 0, "b": kind == 1})
    with pytest.raises(FlowGradError, match="no product of two columns can be told from the columns themselves"):
        FeatureAnalyzer(X, np.random.default_rng(0).normal(size=90)).plot_interactions(tmp_path / "x.png")


def test_the_picture_names_the_columns_of_the_strongest_pairs(analyzer, tmp_path):
    analyzer.plot_interactions(tmp_path / "pairs.svg", columns=2)
    text = (tmp_path / "pairs.svg").read_text("utf-8")
    assert ">a</text>" in text
    assert ">d</text>" in text
    assert ">b</text>" not in text
    assert "interactions of 2 of 5 columns" in text
