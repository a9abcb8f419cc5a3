"""Where a run's settings come from: the method's default, the entries of the model and of the data set in their catalogs,
the study's defaults, rules, the grid's own, what it varies; and, by fewer layers, how it is executed.

Later layers win. Each setting keeps the place that set it, so that a problem is reported there, and its source, which the
hyper-parameter table shows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ValidationError

from peft_lib.methods.method import Method
from peft_lib.study.catalogs import DatasetEntry, ModelEntry
from peft_lib.study.how import How
from peft_lib.study.problems import Location
from peft_lib.study.rule_files import PlacedRule
from peft_lib.study.schema import Study, When
from peft_lib.study.settings import OPTION, Settings
from peft_lib.study.spec import RunSpec
from peft_lib.study.tally import Tally
from peft_lib.study.wording import explain

CATALOG_WORDS = {"models": "model", "datasets": "data set"}
EXCLUSIVE = {"chain_period": "chain_count", "chain_count": "chain_period"}


@dataclass
class Resolved:
    """Settings of one point of a grid; `options` is None where they are wrong."""

    values: dict[str, Any]
    sources: dict[str, str]
    places: dict[str, Location]
    relevant: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] | None = None


@dataclass(frozen=True)
class ResolvedHow:
    """How the runs of a model, a data set and a method are executed; source and place of what is said of it."""

    how: How
    sources: dict[str, str]
    places: dict[str, Location]


@dataclass
class Layer:
    given: dict[str, Any]
    source: str
    place: Location


@dataclass
class Fixed:
    """What all points of a grid with one model, data set and method have in common: all layers but what is varied."""

    base: Resolved
    options: dict[str, Any]


class Layering:
    """Resolves settings, and keeps which rule matched which methods, for the checks of what is of no use."""

    def __init__(
        self, study: Study, rules: Sequence[PlacedRule], models: Mapping[str, ModelEntry],
        datasets: Mapping[str, DatasetEntry], tally: Tally,
    ):  # fmt: skip
        self.study, self.placed, self.models, self.datasets, self.tally = study, rules, models, datasets, tally
        self.defaults = _layer(study.defaults, "defaults", ("defaults",))
        self.own_how = _layer(study, "the study", (), How)
        self.rules = [_layer(one.rule.set, one.rule.source or "", one.settings) for one in rules]
        self.rules_how = [_layer(one.rule.how, one.rule.source or "", (*one.place, "how"), How) for one in rules]
        self.grids = {name: _layer(grid.set, "grid", ("grids", name, "set")) for name, grid in study.grids.items()}
        self.matched: dict[int, dict[str, Method]] = {i: {} for i in range(len(rules))}
        self.methods: dict[str, Method] = {}
        self.by_grid: dict[str, dict[str, Method]] = {name: {} for name in study.grids}
        self.winners: set[Location] = set()
        self.hows: dict[tuple[str, str, str], ResolvedHow] = {}
        self._fixed: dict[tuple[str, str, str, str], Fixed] = {}
        self._of_task: dict[tuple[str, str, str], list[int]] = {}
        self._options: dict[tuple[str, str], dict[str, Any] | None] = {}

    def note(self, grid: str, model: str, dataset: str, method: Method) -> None:
        """Remembers that a grid has this combination."""
        self.methods[method.id] = self.by_grid[grid][method.id] = method
        matching = self._matching(grid, model, dataset, method)
        for index in matching:
            self.matched[index][method.id] = method
        layers = [
            _of_catalog(self.models[model].settings, "models", model, "settings"),
            _of_catalog(self.datasets[dataset].settings, "datasets", dataset, "settings"),
            self.defaults,
            *(self.rules[i] for i in matching),
            self.grids[grid],
        ]
        self._fixed[grid, model, dataset, method.id] = _fixed(method, layers)
        if (model, dataset, method.id) not in self.hows:
            recommended = _of_catalog(self.models[model].how, "models", model, "how", How)
            layers = [recommended, self.own_how, *(self.rules_how[i] for i in matching)]
            self.hows[model, dataset, method.id] = how = _how(layers)
            self.winners |= _of_layers(how.places.values())

    def _matching(self, grid: str, model: str, dataset: str, method: Method) -> list[int]:
        """Rules for these runs. Those for a task are looked for once, not once a method."""
        key = (grid, model, dataset)
        if key not in self._of_task:
            facts = {"grid": grid, "model": model, "dataset": dataset}
            self._of_task[key] = [i for i, one in enumerate(self.placed) if _matches(one.rule.when, facts)]
        of_method = {"method": method.id, "lr_group": method.lr_group}
        return [i for i in self._of_task[key] if _matches(self.placed[i].rule.when, of_method)]

    def resolve(
        self,
        grid: str,
        model: str,
        dataset: str,
        method: Method,
        varied: Mapping[str, Any],
        places: dict[str, Location],
    ) -> Resolved:
        """Settings of one point, later layers over earlier ones."""
        fixed = self._fixed[grid, model, dataset, method.id]
        result = Resolved(dict(fixed.base.values), dict(fixed.base.sources), dict(fixed.base.places))
        settings = {k: v for k, v in varied.items() if not k.startswith(OPTION)}
        of_method = {k: v for k, v in varied.items() if k.startswith(OPTION) and uses(method, k)}
        options = fixed.options | {k.removeprefix(OPTION): v for k, v in of_method.items()}
        _put(result, settings, "varied", places)
        result.places |= {k: places[k] for k in of_method}
        if of_method:
            result.sources["options"] = "varied"
        result.values.pop("options", None)
        result.relevant = {k: v for k, v in result.values.items() if method.uses(k)}
        if method.uses("alpha"):
            result.relevant.setdefault("alpha", RunSpec.model_fields["alpha"].default)
        result.options = self.options(method, options, result)
        result.sources = {
            k: s for k, s in result.sources.items() if k in result.relevant or (k == "options" and options)
        }
        self.winners |= _of_layers(p for k, p in result.places.items() if k in result.relevant or k.startswith(OPTION))
        return result

    def options(self, method: Method, values: dict[str, Any], result: Resolved) -> dict[str, Any] | None:
        """Validated options that differ from the method's defaults; None after noting what is wrong."""
        key = (method.id, repr(sorted(values.items(), key=lambda item: item[0])))
        if key not in self._options or self._options[key] is None:
            self._options[key] = self._parse(method, values, result)
        return self._options[key]

    def _parse(self, method: Method, values: dict[str, Any], result: Resolved) -> dict[str, Any] | None:
        try:
            method.options.model_validate(values, strict=True)
            return method.parse_options(values).model_dump(exclude_defaults=True)
        except ValidationError as error:
            for item in error.errors(include_url=False):
                name = str(item["loc"][0]) if item["loc"] else next(iter(values), "")
                where = result.places.get(f"options.{name}", ("defaults", "options"))
                rule, remedy = _option_words(method.options, name, item, values)
                self.tally.refuse(where, f"option {name}", values.get(name), rule, remedy, method.id)
        except Exception as error:  # noqa: BLE001 - a plug-in's own validator may raise anything
            where = next((p for k, p in result.places.items() if k.startswith("options.")), ("defaults",))
            rule = f"the options of {method.id} are refused by its file: {type(error).__name__}: {error}"
            self.tally.refuse(where, "options", values, rule, "mend the options, or the method's file", method.id)
        return None


def _option_words(options: type[BaseModel], name: str, item: Any, values: dict[str, Any]) -> tuple[str, str]:
    if item["type"] == "value_error":
        return str(item["ctx"]["error"]), "mend the options under `options:`"
    info = options.model_fields.get(name)
    if item["type"] == "missing" or info is None:
        return f"the method needs the option {name}", f"add options: {{{name}: ...}} in a rule for the method"
    return explain(name, Annotated[info.annotation, *info.metadata, info], values.get(name))


def _fixed(method: Method, layers: Iterable[Layer]) -> Fixed:
    result, options = Resolved({}, {}, {}), {}
    if method.default_lr is not None:
        result.values["lr"], result.sources["lr"] = method.default_lr, "the method's default"
    for layer in layers:
        _put(result, layer.given, layer.source, {k: (*layer.place, k) for k in layer.given})
        for key, value in (layer.given.get("options") or {}).items():
            if key in method.options.model_fields:
                options[key] = value
                result.places[f"{OPTION}{key}"] = (*layer.place, "options", key)
    return Fixed(result, options)


def _put(result: Resolved, given: Mapping[str, Any], source: str, places: Mapping[str, Location]) -> None:
    for one, other in EXCLUSIVE.items():
        if given.get(one) is not None and other not in given:
            result.values.pop(other, None)
    result.values.update(given)
    for key in given:
        result.sources[key] = source
        result.places[key] = places[key]


def _layer(record: BaseModel, source: str, place: Location, kind: type[BaseModel] = Settings) -> Layer:
    """What a layer says: null too, which overrides an inherited value."""
    given = {k: getattr(record, k) for k in kind.model_fields if k in record.model_fields_set}
    return Layer(given, source, place)


def _of_catalog(record: BaseModel, catalog: str, entry: str, key: str, kind: type[BaseModel] = Settings) -> Layer:
    """What an entry recommends. Options of methods are no business of a model or of data (`check_no_method_options`)."""
    layer = _layer(record, f"{CATALOG_WORDS[catalog]} catalog", ("catalogs", catalog, entry, key), kind)
    layer.given.pop("options", None)
    return layer


def _how(layers: list[Layer]) -> ResolvedHow:
    said = {k: (v, layer) for layer in layers for k, v in layer.given.items()}
    how = How.model_construct(**{k: v for k, (v, _) in said.items()})
    sources = {k: layer.source for k, (_, layer) in said.items()}
    return ResolvedHow(how, sources, {k: (*layer.place, k) for k, (_, layer) in said.items()})


def _matches(when: When, facts: Mapping[str, str]) -> bool:
    return all(value in wanted for key, value in facts.items() if (wanted := getattr(when, key)))


def _of_layers(places: Iterable[Location]) -> set[Location]:
    """The layers that values are from: ("rules", 3), ("rules_from", 0, 12), ..."""
    return {place[: 3 if place[0] == "rules_from" else 2] for place in places}


def uses(method: Method, setting: str) -> bool:
    """Whether a setting, or an option by its name (options.selector), can change a method's numbers."""
    if setting.startswith(OPTION):
        return setting.removeprefix(OPTION) in method.options.model_fields
    return method.uses(setting)
