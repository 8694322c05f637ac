"""The results of the demo as tables: decisions, error rates, latencies, and where to look on the dashboard."""

from collections import Counter

import numpy as np
from rich.console import Console
from rich.table import Table

from voiceauth.demo.client import Clients
from voiceauth.demo.story import Results, Search, Trial

ROWS_SHOWN = 12


def roc_auc(targets: np.ndarray, impostors: np.ndarray) -> float:
    """Return the probability that a target scores above an impostor. Ties count half (Mann-Whitney U)."""
    ranked = np.sort(impostors)
    below = np.searchsorted(ranked, targets, side="left") + np.searchsorted(ranked, targets, side="right")
    return float(np.mean(below) / 2 / len(ranked))


def show(results: Results, clients: Clients, console: Console, url: str) -> None:
    """Print the report."""
    console.print(_decisions(results.trials, "verify: some decisions"))
    console.print(_decisions(results.newcomer, "the newcomer, enrolled after the training, and then a stranger"))
    console.print(_rates(results))
    console.print(_times(results, clients))
    console.print(f"Overrides of this run: {' '.join(f'{key}={value}' for key, value in results.config.items())}")
    console.print(f"\nSee it on the dashboard at {url}/admin/:", highlight=False)
    for name, path in (
        ("decisions", "verification/decision/"),
        ("this training run", f"retraining/trainingrun/{results.run['id']}/change/"),
        ("this model", f"mltraining/modelversion/{results.model['version']}/change/"),
        ("audit trail", "audit/auditevent/"),
    ):
        console.print(f"  {name:<18} {url}/admin/{path}", highlight=False, soft_wrap=True)


def problems(results: Results) -> list[str]:
    """Return what went wrong; empty where nothing did."""
    newcomer = [trial for trial in results.newcomer if trial.is_target]
    strangers = [trial for trial in results.newcomer if not trial.is_target]
    found = []
    if not any(trial.answer["decision"] == "ACCEPT" for trial in newcomer):
        found.append("none of the newcomer's calls was accepted")
    if any(trial.answer["decision"] == "ACCEPT" for trial in strangers):
        found.append("a stranger was accepted as the newcomer")
    if not any(trial.answer["decision"] in ("ACCEPT", "REJECT") for trial in results.trials):
        found.append("no call was decided")
    return found


def _decisions(trials: list[Trial], title: str) -> Table:
    table = Table("speaker", "claims to be", "decision", "probability", "threshold", "LLR", "speech", title=title)
    for trial in trials[:ROWS_SHOWN]:
        answer = trial.answer
        decision = str(answer["decision"])
        right = decision == ("ACCEPT" if trial.is_target else "REJECT")
        colour = "green" if right else "red" if decision in ("ACCEPT", "REJECT") else "yellow"
        table.add_row(
            trial.speaker,
            "self" if trial.is_target else trial.claimed,
            f"[{colour}]{decision}[/]",
            _number(answer.get("probability"), ".4f"),
            _number(answer.get("threshold"), ".2f"),
            _number(answer.get("log_likelihood_ratio"), "+.1f"),
            _number(answer.get("speech_seconds"), ".1f s"),
        )
    return table


def _rates(results: Results) -> Table:
    table = Table("measure", "value", "counts", title=f"{results.cast.description}: error rates")
    decided = [trial for trial in results.trials if trial.answer["decision"] in ("ACCEPT", "REJECT")]
    targets = [trial for trial in decided if trial.is_target]
    impostors = [trial for trial in decided if not trial.is_target]
    _rate(table, "false rejects", sum(trial.answer["decision"] == "REJECT" for trial in targets), len(targets))
    _rate(table, "false accepts", sum(trial.answer["decision"] == "ACCEPT" for trial in impostors), len(impostors))

    ranked = [search for search in results.searches if search.answer["results"]]
    _rate(table, "rank-1 identification", sum(_is_first(search, results) for search in ranked), len(ranked))
    own, other = _scores(ranked, results)
    if len(own) and len(other):
        table.add_row("ROC AUC", f"{roc_auc(own, other):.5f}", f"{len(own)} target, {len(other)} impostor rows")
        rows = [(row, search) for search in ranked for row in search.answer["results"]]
        wrong = [row for row, search in rows if row["customer_id"] != results.customers[search.speaker]]
        _rate(table, "impostor rows over the threshold", sum(row["over_threshold"] for row in wrong), len(wrong))

    undecided = Counter(str(trial.answer["decision"]) for trial in results.trials if trial not in decided)
    for decision, count in sorted(undecided.items()):
        _rate(table, f"not decided: {decision}", count, len(results.trials))
    not_ranked = len(results.searches) - len(ranked)
    if not_ranked:
        _rate(table, "not ranked", not_ranked, len(results.searches))
    sent = sum(len(speaker.enrollment) for speaker in [*results.cast.speakers, results.cast.newcomer])
    if results.approved_uploads:
        _rate(table, "enrollment recordings held, and approved by the reviewer", results.approved_uploads, sent)
    for code, count in sorted(results.refused_uploads.items()):
        _rate(table, f"enrollment recordings refused: {code}", count, sent)
    if results.unfinished:
        _rate(table, "customers not enrolled, for lack of speech", len(results.unfinished), len(results.cast.speakers))
    return table


def _times(results: Results, clients: Clients) -> Table:
    table = Table("call", "count", "p50", "p99", title="latency at the client, and time of each phase")
    for path in ("/verify", "/identify"):
        taken = clients.ivr.milliseconds.get(path, [])
        if taken:
            p50, p99 = np.percentile(taken, [50, 99])
            table.add_row(path, str(len(taken)), f"{p50:.0f} ms", f"{p99:.0f} ms")
    busy = sum(client.busy_answers for client in (clients.teller, clients.ivr, clients.operator))
    table.add_row("503, repeated", str(busy), "", "")
    table.add_section()
    for phase, seconds in results.seconds.items():
        table.add_row(phase, "", f"{seconds:.0f} s", "")
    table.add_row("total", "", f"{sum(results.seconds.values()):.0f} s", "")
    return table


def _is_first(search: Search, results: Results) -> bool:
    return bool(search.answer["results"][0]["customer_id"] == results.customers[search.speaker])


def _scores(searches: list[Search], results: Results) -> tuple[np.ndarray, np.ndarray]:
    """Return the log-likelihood ratios of the calls' own rows and of all others."""
    own: list[float] = []
    other: list[float] = []
    for search in searches:
        for row in search.answer["results"]:
            mine = row["customer_id"] == results.customers[search.speaker]
            (own if mine else other).append(float(row["log_likelihood_ratio"]))
    return np.array(own), np.array(other)


def _rate(table: Table, name: str, count: int, total: int) -> None:
    table.add_row(name, f"{count / total:.2%}" if total else "no trial", f"{count} of {total}")


def _number(value: object, form: str) -> str:
    return (
        format(float(value), form.removesuffix(" s")) + (" s" if form.endswith(" s") else "")
        if isinstance(value, int | float)
        else "–"
    )
