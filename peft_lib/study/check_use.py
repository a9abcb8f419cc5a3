"""What a study says and nothing uses: rules that match nothing, settings and options that no method has."""

from collections.abc import Mapping
from typing import Any

from peft_lib.methods.method import Method
from peft_lib.names import near_names
from peft_lib.study.layering import Layer, Layering, uses
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import Location, problem_at
from peft_lib.study.quantities import DATASET_METRICS
from peft_lib.study.schema import Study, When
from peft_lib.study.settings import may_vary
from peft_lib.study.tally import Tally, few


def check_use(study: Study, layering: Layering, parser: Parser, tally: Tally) -> None:
    """What is accepted and of no use: rules that match nothing, settings that no method uses, options that none has."""
    _unknown_options(layering.defaults, layering.methods, tally)
    for index, methods in layering.matched.items():
        one = layering.placed[index]
        where = one.place
        if any(parser.is_broken_below(one.when(key)) or parser.is_broken(one.when(key)) for key in When.model_fields):
            continue
        if not methods:
            given = {k: list(v) for k, v in one.rule.when if v is not None}
            rule = "this rule matches no run of any grid"
            remedy = "mend `when`, remove the rule, or add such runs to a grid"
            parser.problem(where if one.of_file or not given else (*where, "when"), given, rule, remedy)
            continue
        if where not in layering.winners and not parser.is_broken_below(where):
            rule = "later rules, or the grids, override every value of this rule"
            tally.warnings.append(problem_at(where, one.rule.source, rule, "remove it", parser.lines))
        _unknown_options(layering.rules[index], methods, tally)
        _unused(layering.rules[index].given, one.settings, methods, "the methods that the rule is for", parser)
    for name, methods in layering.by_grid.items():
        if not methods:
            continue
        _unknown_options(layering.grids[name], methods, tally)
        _unused(layering.grids[name].given, ("grids", name, "set"), methods, "the methods of the grid", parser)
        for setting, values in study.grids[name].vary.items():
            if len(values) > 1 and may_vary(setting) and not any(uses(m, setting) for m in methods.values()):
                rule = f"no method of the grid uses {setting}, so all its values are one run ({few(list(methods))})"
                parser.problem(("grids", name, "vary", setting), list(values), rule, "remove it from vary")
    if not study.artefacts:
        rule = "the study has no artefacts: its runs are trained, and no table or report is made"
        tally.warnings.append(problem_at(("artefacts",), None, rule, "add artefacts to see results", parser.lines))
        return
    _unmeasured(study, layering, parser)
    shown_grids = {name for a in study.artefacts for name in a.grids()}
    for name in (g for g in study.grids if g not in shown_grids):
        rule = "no artefact shows this grid: its runs are trained, and no table has them"
        remedy = f"add an artefact with grid: {name}, if they are to be shown"
        tally.warnings.append(problem_at(("grids", name), name, rule, remedy, parser.lines))


def _unmeasured(study: Study, layering: Layering, parser: Parser) -> None:
    """Artefacts of a metric that no data set of their grid measures: every cell would be empty."""
    metrics = {f"test_{name}": name for name in DATASET_METRICS}
    for index, artefact in enumerate(study.artefacts):
        grids = [name for name in artefact.grids() if name in study.grids]
        names = {task.partition("/")[2] for grid in grids for task in study.grids[grid].tasks}
        entries = [layering.datasets[name] for name in names if name in layering.datasets]
        for key, shown in artefact.quantities.items():
            metric = metrics.get(shown)
            if metric is not None and entries and not any(metric in (e.metric, *e.measures) for e in entries):
                measured = sorted({f"test_{m}" for e in entries for m in (e.metric, *e.measures)})
                rule = f"no data set of grid {' and '.join(grids)} measures {metric}"
                remedy = (
                    f"use one of test_metric, {', '.join(measured)}, or add it to `measures` of the data set's entry"
                )
                parser.problem(("artefacts", index, key), shown, rule, remedy)


def _unused(given: Mapping[str, Any], where: Location, methods: Mapping[str, Method], who: str, parser: Parser) -> None:
    if given and not any(m.uses(setting) for m in methods.values() for setting in given):
        rule = f"{who} use none of these settings: {', '.join(given)} ({few(list(methods))})"
        parser.problem(where, ", ".join(given), rule, "remove them, or set what the methods use")


def _unknown_options(layer: Layer, methods: Mapping[str, Method], tally: Tally) -> None:
    """Options that no method has to which the layer applies."""
    known = sorted({name for m in methods.values() for name in m.options.model_fields})
    for key, value in (layer.given.get("options") or {}).items():
        if key not in known:
            near = near_names(key, known)
            remedy = f"did you mean {' or '.join(near)}?" if near else f"their options: {', '.join(known) or 'none'}"
            who = ", ".join(methods) if len(methods) <= 5 else f"the {len(methods)} methods it is for"
            tally.parser.problem((*layer.place, "options", key), value, f"unknown option: none of {who} has it", remedy)
