"""Whether ro-crate-metadata.json is what RO-Crate's public validator requires:  python .ci/crate.py

In an environment of its own with roc-validator and rocrate, whose versions of other packages are not this project's. JSON-LD's context is
the one that rocrate brings (of 1.3, which has the terms of 1.1): nobody is asked for it.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

import requests
from rocrate_validator import services
from rocrate_validator.models import Severity

ROOT = Path(__file__).parents[1]
CONTEXT = files("rocrate").joinpath("data", "ro-crate.jsonld").read_bytes()
send = requests.Session.send


def sent(session: requests.Session, request: requests.PreparedRequest, **options) -> requests.Response:
    if "/ro/crate/" not in request.url:
        return send(session, request, **options)
    response = requests.Response()
    response.status_code, response._content, response.url, response.request = 200, CONTEXT, request.url, request
    response.headers["Content-Type"] = "application/ld+json"
    return response


def main() -> int:
    requests.Session.send = sent
    settings = {"rocrate_uri": str(ROOT), "profile_identifier": "ro-crate-1.1", "requirement_severity": Severity.REQUIRED, "no_cache": True}
    result = services.validate(services.ValidationSettings(**settings))
    issues = result.get_issues()
    for issue in issues:
        print(f"{issue.check.identifier}: {issue.message}")
    print(f"{len(result.executed_checks)} checks, {len(issues)} issues")
    return int(bool(issues) or not result.executed_checks)


if __name__ == "__main__":
    sys.exit(main())
