"""Every estimator under scikit-learn's own checks: those that can hold for texts are run, and of all others it is written why not."""

import warnings
from inspect import signature

import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.utils import estimator_checks as checks

import diptych as dt

ESTIMATORS = [dt.TextClassifier, dt.Tagger, dt.QuestionAnswerer, dt.Translator, dt.Summarizer, dt.ChatModel, dt.Embedder]

HOLD = {
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_estimators_unfitted",
    "check_transformers_unfitted",
    "check_transformers_unfitted_stateless",
    "check_valid_tag_types",
    "check_no_attributes_set_in_init",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_n_features_in_after_fitting",
    "check_mixin_order",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
}
"""Checks of scikit-learn's that are run as they are. Those of the two that follow a fit hand over a table of numbers only where an
estimator says that it takes one."""

NUMBERS = "It fits a table of random numbers; a text is no row of numbers. In text: {test}."
SHAPE = "It counts and names the columns of a table of numbers, of which there are none: an input is one text."
SPARSE = "It hands over a sparse matrix of numbers; there is none of texts."
CANNOT = {
    **dict.fromkeys(
        ("check_estimators_overwrite_params", "check_dont_overwrite_parameters", "check_dict_unchanged"),
        NUMBERS.format(test="test_fitting_and_asking_change_nothing_that_was_given"),
    ),
    **dict.fromkeys(
        (
            "check_fit_score_takes_y",
            "check_estimators_fit_returns_self",
            "check_readonly_memmap_input",
            "check_fit_check_is_fitted",
            "check_pipeline_consistency",
        ),
        NUMBERS.format(test="test_fitting_and_asking_change_nothing_that_was_given"),
    ),
    **dict.fromkeys(
        ("check_fit_idempotent", "check_methods_sample_order_invariance", "check_methods_subset_invariance", "check_estimators_pickle"),
        NUMBERS.format(test="test_order_and_company_of_texts_do_not_matter"),
    ),
    **dict.fromkeys(
        (
            "check_classifier_data_not_an_array",
            "check_classifiers_classes",
            "check_classifiers_train",
            "check_transformer_general",
            "check_transformer_data_not_an_array",
            "check_f_contiguous_array_estimator",
        ),
        NUMBERS.format(test="the tests of each estimator"),
    ),
    **dict.fromkeys(
        (
            "check_n_features_in",
            "check_fit2d_predict1d",
            "check_fit1d",
            "check_fit2d_1sample",
            "check_fit2d_1feature",
            "check_nonsquare_error",
        ),
        SHAPE,
    ),
    **dict.fromkeys(("check_estimator_sparse_tag", "check_estimator_sparse_array", "check_estimator_sparse_matrix"), SPARSE),
    "check_estimators_dtypes": "It fits numbers of several types; a text has one.",
    "check_positive_only_tag_during_fit": "It fits negative numbers, to see whether they are refused.",
    "check_complex_data": "It wants complex numbers refused; a number among texts is read as its digits, and counted.",
    "check_dtype_object": "It fits objects that are numbers.",
    "check_estimators_empty_data_messages": "It wants a ValueError for an empty table; without a text E132 is raised.",
    "check_estimators_nan_inf": "It wants NaN among numbers refused; a text that is missing is dropped and counted.",
    "check_classifiers_one_label": "One class alone teaches nothing, and is refused (E131); scikit-learn would have it always predicted.",
    "check_classifiers_regression_target": "It wants numbers of many values refused; a label may be any number, and is one class.",
    "check_supervised_y_no_nan": "It wants a ValueError for a missing label; E121 says which row, and is a DiptychError.",
    "check_supervised_y_2d": "It wants a column vector of labels ravelled with a warning; several labels of a text are refused (E623).",
    "check_requires_y_none": "It wants y asked for; without y the first argument is a whole table, which holds the answers.",
    "check_transformer_preserve_dtypes": "It wants numbers of a type back as that type; vectors are float32 whatever the text.",
    **dict.fromkeys(
        ("check_non_transformer_estimators_n_iter", "check_transformer_n_iter"),
        "It is for estimators with `max_iter`, and these have none.",
    ),
    "check_classifiers_one_label_sample_weights": "It is for estimators that take `sample_weight`, and these do not.",
    "check_decision_proba_consistency": "It is for classifiers with a `decision_function`; this one has probabilities alone.",
    "check_estimators_partial_fit_n_features": "It is for estimators with `partial_fit`; here one learns further with `base=`.",
    "check_array_api_input": "It hands numbers over in other libraries' arrays.",
}


class AsNumbers:
    """An estimator that says that it takes a table of numbers: scikit-learn then lists every check that there is for its kind."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


def all_checks(kind: type) -> dict:
    """Every check of scikit-learn's for an estimator of this kind, by name."""
    made = type(kind.__name__, (AsNumbers, kind), {})()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {}
        for _estimator, check in checks.estimator_checks_generator(made):
            found[checks._check_name(check)] = check
    return found


def test_every_check_is_run_or_has_a_reason() -> None:
    named = {name for kind in ESTIMATORS for name in all_checks(kind)}
    assert named <= HOLD | set(CANNOT), sorted(named - HOLD - set(CANNOT))
    assert not HOLD & set(CANNOT)


@pytest.mark.parametrize("kind", ESTIMATORS, ids=lambda kind: kind.__name__)
def test_scikit_learns_checks_hold(kind: type) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checks.check_estimator(kind())
        for name in sorted(set(all_checks(kind)) & HOLD):
            getattr(checks, name)(kind.__name__, kind())


@pytest.mark.parametrize("kind", ESTIMATORS, ids=lambda kind: kind.__name__)
def test_parameters_are_stored_and_nothing_else(kind: type) -> None:
    settings = {"steps": 3}
    made = kind(base="x", epochs=2, lr=1e-3, seed=7, settings=settings)
    assert isinstance(made, BaseEstimator) and vars(made) == {"base": "x", "epochs": 2, "lr": 1e-3, "seed": 7, "settings": settings}
    for name in ("fit", "score"):
        assert [*signature(getattr(made, name)).parameters] == ["X", "y"]
    assert made.settings is settings and clone(made).get_params() == made.get_params()
