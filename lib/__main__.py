"""One door to all of it:  python -m lib COMMAND

    data [NAME ...]      fetch, verify and prepare the data sets; by name, a molecule's trajectory of MD17 too
    plan EXPERIMENT      its runs, what state their records are in, what training would cost; trains nothing
    train EXPERIMENT     train the runs that have no record, or a stale one
    time EXPERIMENT      measure steps and predictions of its methods, one after another
    settings             each experiment's section of params.yaml, references in their places: results/settings
    show ID              build a table or figure from its records, and print it
    costs                hours, seeds and machines of the records, and how many are missing: results/tables/costs.csv
    decision             for every data set, whether it is oriented and what helped most there: results/tables/decision.csv
    claims               what of both papers reproduces, statement by statement: results/claims.csv
    site                 statements, tables, figures and costs as pages to open in a browser: build/site/index.html
    provenance           what was made from what, for machines: ro-crate-metadata.json, docs/croissant
    verify               whether every record speaks for today's code and data

Examples:

    python -m lib plan rotated_mnist --profile quick
    python -m lib train md17 --profile quick --minutes 30
    python -m lib show semola_tab2

Experiments are the sections of params.yaml. Exit status: 0; 1 where something is left to do or does not hold; 2 for what cannot be meant
or read. An experiment whose data is not at hand is skipped, with status 0 and the ways to get it.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence

# A command imports what it runs: training does without what draws, and `--help` without either.


def data(options: Namespace) -> int:
    from lib.tasks.files.prepared import fetch_all
    from lib.tasks.md17 import SCENARIOS, download_all

    molecules = [name for name in options.name if name in SCENARIOS]
    others = [name for name in options.name if name not in SCENARIOS]
    failed = fetch_all(others) if others or not molecules else 0
    return download_all(molecules) or failed


def plan(options: Namespace) -> int:
    from lib.experiments.prices import print_plan
    from lib.experiments.settings import plan
    from lib.experiments.sweep import resolved

    print_plan(options.experiment, plan(options.experiment, resolved(options.experiment, options.profile)), options.workers)
    return 0


def train(options: Namespace) -> int:
    from lib.experiments.prices import print_plan
    from lib.experiments.settings import plan
    from lib.experiments.sweep import resolved, to_train, train_missing
    from lib.experiments.timing import TIMED, probe_missing

    runs = plan(options.experiment, resolved(options.experiment, options.profile))
    todo = to_train(options.experiment, runs, options.which)
    print(f"{len(runs)} runs, {len(todo)} to train")
    if todo:  # what all would cost is counted on the networks themselves, which takes seconds
        print_plan(options.experiment, todo, os.cpu_count())
    how = {"which": options.which, "minutes": options.minutes, "device": options.device, "backend": options.backend}
    left = train_missing(options.experiment, runs, **how)
    if left:
        print(f"{left} runs are left: the same command goes on with them", file=sys.stderr)
    elif options.profile in TIMED:
        probe_missing(options.experiment, runs, device=options.device)
    return int(left > 0)


def time(options: Namespace) -> int:
    from lib.experiments.settings import plan
    from lib.experiments.sweep import resolved
    from lib.experiments.timing import probe_missing

    runs = plan(options.experiment, resolved(options.experiment, options.profile))
    probe_missing(options.experiment, runs, device=options.device, again=options.again)
    return 0


def settings(options: Namespace) -> int:
    from lib.experiments.sections import write_sections

    print(*write_sections())
    return 0


def show(options: Namespace) -> int:
    from lib.views.tables import show

    print(show(options.id, options.profile))
    return 0


def costs(options: Namespace) -> int:
    from lib.views.costs import write

    print(write().drop(columns="machine").to_string(index=False))
    return 0


def decision(options: Namespace) -> int:
    from lib.views.decision import write

    print(write().to_string(index=False))
    return 0


def claims(options: Namespace) -> int:
    from lib.views.claims import counted, write

    print(counted(write()).to_string())
    return 0


def site(options: Namespace) -> int:
    from lib.views.site import write

    print(write())
    return 0


def provenance(options: Namespace) -> int:
    from lib.views.provenance import write

    print(*write(), sep="\n")
    return 0


def verify(options: Namespace) -> int:
    from lib.experiments.verify import verify

    return int(not verify(write=options.write, sample=options.sample))


def arguments_of(parser: ArgumentParser) -> None:
    """The commands, each with its arguments and the function that runs it."""
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(run, what: str, *, experiment: bool = False, device: bool = False) -> ArgumentParser:
        added = commands.add_parser(run.__name__, description=what, help=what)
        added.set_defaults(run=run)
        if experiment:
            added.add_argument("experiment", help="a section of params.yaml")
            added.add_argument("--profile", default="best", help="smoke, quick, paper, a search, or best: the highest that is complete")
        if device:
            added.add_argument("--device", default="cpu", help="cpu or cuda")
        return added

    command(data, "fetch, verify and prepare data").add_argument("name", nargs="*", help="all data sets without any")
    added = command(plan, "list an experiment's runs, their states and their cost", experiment=True)
    added.add_argument("--workers", type=int, default=os.cpu_count(), help="of a cluster, one core each; as many as this machine has cores")
    added = command(train, "train what has no record, or a stale one", experiment=True, device=True)
    added.add_argument("--which", default="missing", help="missing (the default; stale runs too), earlier (those too), or all")
    added.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many; the same command goes on from there")
    added.add_argument("--backend", default="loky", help="loky (as many processes as cores), multiprocessing, serial, dask or ray")
    added = command(time, "measure an experiment's methods, one after another", experiment=True, device=True)
    added.add_argument("--again", action="store_true", help="what is there, too")
    command(settings, "write results/settings: each experiment's section of params.yaml, references in their places")
    added = command(show, "build a table or figure from its records, and print it")
    added.add_argument("id", help="semola_tab2, remul_fig6, ...")
    added.add_argument("--profile", default="best", help="smoke, quick, paper, or best: the highest that is complete")
    command(costs, "write results/tables/costs.csv: hours, seeds and machines of the records, and how many are missing")
    command(
        decision, "write results/tables/decision.csv: whether each data set is oriented, whether its law is symmetric, and what helped most"
    )
    command(claims, "write results/claims.csv: what of both papers reproduces, statement by statement")
    command(site, "write build/site: statements, tables, figures and costs as pages that open without a server")
    command(provenance, "write ro-crate-metadata.json and docs/croissant: what was made from what, for machines")
    added = command(verify, "whether every record speaks for today's code and data")
    added.add_argument("--write", action="store_true", help="write what agreed to results/verified.json, and drop what did not")
    added.add_argument("--sample", type=int, default=0, help="replay so many of those that the ledger vouches for, too")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = ArgumentParser(prog="python -m lib", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    arguments_of(parser)
    options = parser.parse_args(arguments)
    try:
        status = answered(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # who reads has read enough, as `| head` does; the interpreter flushes once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        if (error.name or "lib").startswith("lib"):
            raise
        extra = {"distributed": "dask", "ray": "ray"}.get(error.name, "paper")
        print(f"lib {options.command}: {error.name} is not installed; the extra brings it: pip install -e '.[{extra}]'", file=sys.stderr)
        return 2


def answered(options: Namespace) -> int:
    """Runs the command; returns the exit status, errors that have a remedy as one line."""
    from lib.experiments.clusters import LostClusterError
    from lib.experiments.freshness import ReplayError
    from lib.experiments.store import DamagedRecordError, MissingRecordError
    from lib.experiments.values import ConfigError
    from lib.tasks.files.sources import DataError

    try:
        return options.run(options)
    except DataError as error:
        skipped = options.command in ("train", "time")
        print(f"{options.experiment} is skipped: {error}" if skipped else f"lib {options.command}: {error}", file=sys.stderr)
        return 0 if skipped else 2
    except (ConfigError, DamagedRecordError, LostClusterError, MissingRecordError, ReplayError) as error:
        print(f"lib {options.command}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
