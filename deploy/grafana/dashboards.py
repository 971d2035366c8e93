"""What the dashboards show. After a change: `python deploy/grafana/dashboards.py` writes them."""

import json
import sys
from pathlib import Path

from grafana import OURS, Dashboard, Panel, Query, chosen, document

RATE = "[$__rate_interval]"


def quantile(share: float, metric: str, labels: str, by: str = "") -> str:
    names = f"le, {by}" if by else "le"
    return (
        f"histogram_quantile({share}, sum by ({names}) (rate({metric}_bucket{{{labels}}}{RATE})))"
    )


def per_request(metric: str, labels: str) -> str:
    """Seconds, from Triton's counter of microseconds."""
    return (
        f"sum by (model, version) (rate({metric}{{{labels}}}{RATE})) / 1e6 / "
        f"sum by (model, version) (rate(nv_inference_request_success{{{labels}}}{RATE}))"
    )


def fleet() -> Dashboard:
    waits = f'{OURS}, outcome=~"cold|joined"'
    return Dashboard(
        name="fleet",
        title="Pilotlight: fleet",
        about="Whether users wait, and whether memory is the reason.",
        variables=[
            chosen("instance", "label_values(pilotlight_ready, instance)"),
            chosen("device", f"label_values(pilotlight_ledger_bytes{{{OURS}}}, device)"),
        ],
        panels=[
            Panel(
                title="Ready",
                about="1 when every hot model answers.",
                queries=[Query(f"min(pilotlight_ready{{{OURS}}})")],
                kind="stat",
                width=4,
                height=4,
                red_below=1,
            ),
            Panel(
                title="Servers that answer",
                about="Serving and canary: 2 for each sidecar.",
                queries=[Query(f"sum(pilotlight_server_up{{{OURS}}})")],
                kind="stat",
                width=4,
                height=4,
            ),
            Panel(
                title="Requests that wait now",
                about="Held by the gateway until their model is loaded.",
                queries=[Query(f"sum(pilotlight_requests_waiting{{{OURS}}})")],
                kind="stat",
                width=4,
                height=4,
            ),
            Panel(
                title="In quarantine",
                about="Models that are not loaded for a while, because that failed too often.",
                queries=[Query(f"sum(pilotlight_quarantined_models{{{OURS}}})")],
                kind="stat",
                width=4,
                height=4,
                red_from=1,
            ),
            Panel(
                title="Releases that go on",
                about="Those that wait for a person are among them.",
                queries=[
                    Query(f'sum(pilotlight_releases{{{OURS}, state!~"done|rolled_back|refused"}})')
                ],
                kind="stat",
                width=4,
                height=4,
            ),
            Panel(
                title="One more GiB would save",
                about="Seconds of waiting per hour: what the last victims of evictions were worth.",
                queries=[Query(f"max(pilotlight_shadow_price_seconds{{{OURS}}})")],
                unit="s",
                kind="stat",
                width=4,
                height=4,
            ),
            Panel(
                title="Requests by outcome",
                about="hit: the model was loaded. cold and joined: it was loaded for the request. "
                "refused: no server was asked.",
                queries=[
                    Query(
                        "sum by (outcome) "
                        f"(rate(pilotlight_gateway_requests_total{{{OURS}}}{RATE}))",
                        "{{outcome}}",
                    ),
                    Query(
                        f"sum(rate(pilotlight_gateway_failures_total{{{OURS}}}{RATE}))",
                        "failed in a server",
                    ),
                ],
                unit="reqps",
            ),
            Panel(
                title="First requests wait",
                about="Requests that came before their model was loaded, until it was.",
                queries=[
                    Query(quantile(0.5, "pilotlight_cold_wait_seconds", waits), "half of them"),
                    Query(quantile(0.95, "pilotlight_cold_wait_seconds", waits), "19 in 20"),
                    Query(f"max(pilotlight_longest_wait_seconds{{{OURS}}})", "waits now, longest"),
                ],
                unit="s",
            ),
            Panel(
                title="Slowest models",
                about="The 99th percentile at the gateway, of the five models where it is largest.",
                queries=[
                    Query(
                        "topk(5, pilotlight_gateway_model_latency_seconds"
                        f'{{{OURS}, quantile="0.99"}})',
                        "{{model}}",
                    )
                ],
                unit="s",
                links_to="model",
            ),
            Panel(
                title="Memory of $device",
                about="Budget is what models may hold, foreign what others use.",
                queries=[
                    Query(
                        f'sum by (kind) (pilotlight_ledger_bytes{{{OURS}, device=~"$device", '
                        'kind=~"held|reserved|leaving|foreign"})',
                        "{{kind}}",
                    ),
                    Query(
                        f'sum(pilotlight_ledger_bytes{{{OURS}, device=~"$device", kind="budget"}})',
                        "budget",
                    ),
                ],
                unit="bytes",
                stacked=True,
            ),
            Panel(
                title="Models by warmth",
                about="page_cache: not loaded, but its files need not be read from disk.",
                queries=[
                    Query(f"sum by (warmth) (pilotlight_models{{{OURS}}})", "{{warmth}}"),
                ],
                stacked=True,
            ),
            Panel(
                title="Loads and evictions",
                about="Quick reloads bring back what was evicted less than a minute before: more "
                "than one load in ten is too many for the budget.",
                queries=[
                    Query(
                        f'increase(pilotlight_load_seconds_count{{{OURS}, phase="load"}}{RATE})',
                        "loads",
                    ),
                    Query(
                        f"sum(increase(pilotlight_evictions_total{{{OURS}}}{RATE}))", "evictions"
                    ),
                    Query(f"increase(pilotlight_churn_total{{{OURS}}}{RATE})", "quick reloads"),
                    Query(
                        f"sum(increase(pilotlight_load_failures_total{{{OURS}}}{RATE}))",
                        "failed loads",
                    ),
                ],
            ),
            Panel(
                title="Who holds the memory",
                about="The ten largest on $device; the line leads to the model.",
                queries=[
                    Query(
                        f'topk(10, pilotlight_model_held_bytes{{{OURS}, device=~"$device"}})',
                        "{{model}} on {{device}}",
                    )
                ],
                unit="bytes",
                kind="bargauge",
                instant=True,
                links_to="model",
            ),
            Panel(
                title="GPU utilization",
                about="As Triton tells it; empty without a GPU.",
                queries=[
                    Query(
                        'nv_gpu_utilization{server="serving"}',
                        "{{gpu_uuid}}",
                    )
                ],
                unit="percentunit",
            ),
            Panel(
                title="Alerts",
                about="What fires; docs/runbooks has a page for each.",
                queries=[Query('ALERTS{alertname=~"Pilotlight.+", alertstate="firing"}')],
                kind="table",
                instant=True,
            ),
        ],
    )


def model() -> Dashboard:
    ours = f'{OURS}, model="$model"'
    tritons = 'server="serving", model="$model"'
    parts = {
        "queue": "queues",
        "compute_input": "input",
        "compute_infer": "inference",
        "compute_output": "output",
    }
    return Dashboard(
        name="model",
        title="Pilotlight: one model",
        about="What one model's users meet. Its 200 hottest and most asked have series.",
        variables=[
            chosen("instance", "label_values(pilotlight_ready, instance)"),
            chosen(
                "model", f"label_values(pilotlight_model_state{{{OURS}}}, model)", several=False
            ),
        ],
        panels=[
            Panel(
                title="Warmth",
                about="Which version serves, and how far it is from answering at full speed.",
                queries=[
                    Query(f"pilotlight_model_state{{{ours}}}", "{{state}}, version {{version}}")
                ],
                kind="state-timeline",
                width=16,
                height=6,
            ),
            Panel(
                title="Holds",
                about="Memory on each device, loads in flight included.",
                queries=[Query(f"pilotlight_model_held_bytes{{{ours}}}", "{{device}}")],
                unit="bytes",
                height=6,
            ),
            Panel(
                title="Requests",
                about="At the gateway: failed in a server, or how warm the model was found.",
                queries=[
                    Query(
                        "sum by (outcome) "
                        f"(rate(pilotlight_gateway_model_requests_total{{{ours}}}{RATE}))",
                        "{{outcome}}",
                    ),
                    Query(
                        f"sum(rate(pilotlight_model_requests_total{{{ours}}}{RATE}))",
                        "all, as demand",
                    ),
                ],
                unit="reqps",
            ),
            Panel(
                title="Latency",
                about="From a request's first byte to its answer's last, at the gateway.",
                queries=[
                    Query(
                        f"max by (quantile) (pilotlight_gateway_model_latency_seconds{{{ours}}})",
                        "quantile {{quantile}}",
                    )
                ],
                unit="s",
            ),
            Panel(
                title="Time inside Triton",
                about="The mean of each request; warm-up and our own questions are in it.",
                queries=[
                    Query(per_request(f"nv_inference_{part}_duration_us", tritons), name)
                    for part, name in parts.items()
                ],
                unit="s",
                stacked=True,
            ),
            Panel(
                title="Answered by version",
                about="By Triton's count, which begins anew with each load.",
                queries=[
                    Query(
                        f"sum by (version) (rate(nv_inference_request_success{{{tritons}}}{RATE}))",
                        "version {{version}}",
                    )
                ],
                unit="reqps",
                stacked=True,
            ),
            Panel(
                title="Rows for each execution",
                about="How well requests are batched together: 1 means not at all.",
                queries=[
                    Query(
                        f"sum by (version) (rate(nv_inference_count{{{tritons}}}{RATE})) / "
                        f"sum by (version) (rate(nv_inference_exec_count{{{tritons}}}{RATE}))",
                        "version {{version}}",
                    )
                ],
            ),
            Panel(
                title="Failed in Triton",
                about="By Triton's reason; what does not fit the signature is not counted.",
                queries=[
                    Query(
                        f"sum by (reason) (rate(nv_inference_request_failure{{{tritons}}}{RATE}))",
                        "{{reason}}",
                    )
                ],
                unit="reqps",
            ),
        ],
    )


def release() -> Dashboard:
    tritons = 'server="serving", model=~"$model"'
    since = (
        f'time() - pilotlight_release_entered_timestamp_seconds{{{OURS}, model=~"$model", '
        'state!~"done|rolled_back|refused"}'
    )
    return Dashboard(
        name="release",
        title="Pilotlight: releases",
        about="Where releases are, how long that takes, and what requests meet meanwhile.",
        variables=[
            chosen("instance", "label_values(pilotlight_ready, instance)"),
            chosen(
                "model",
                f"label_values(pilotlight_release_entered_timestamp_seconds{{{OURS}}}, model)",
            ),
        ],
        panels=[
            Panel(
                title="Releases that go on",
                about="Since when each is in its state; awaiting and paused wait for a person.",
                queries=[Query(since)],
                unit="s",
                kind="table",
                instant=True,
                width=16,
            ),
            Panel(
                title="Ended in the time shown",
                about="refused: on canary, before any request. rolled_back: afterwards.",
                queries=[
                    Query(
                        "sum by (outcome) "
                        f"(increase(pilotlight_releases_ended_total{{{OURS}}}[$__range]))",
                        "{{outcome}}",
                    )
                ],
                kind="bargauge",
                instant=True,
            ),
            Panel(
                title="Requests by version",
                about="While requests are shifted, each version's share.",
                queries=[
                    Query(
                        "sum by (model, version) "
                        f"(rate(nv_inference_request_success{{{tritons}}}{RATE}))",
                        "{{model}} {{version}}",
                    )
                ],
                unit="reqps",
                stacked=True,
                links_to="model",
            ),
            Panel(
                title="Mean latency by version",
                about="Inside the serving Triton, queue included.",
                queries=[
                    Query(
                        per_request("nv_inference_request_duration_us", tritons),
                        "{{model}} {{version}}",
                    )
                ],
                unit="s",
                links_to="model",
            ),
            Panel(
                title="Requests on canary",
                about="Proofs, comparisons and mirrored requests.",
                queries=[
                    Query(
                        "sum by (model, version) (rate(nv_inference_request_success"
                        f'{{server="canary", model=~"$model"}}{RATE}))',
                        "{{model}} {{version}}",
                    )
                ],
                unit="reqps",
            ),
            Panel(
                title="Where the time goes",
                about="The median time in each state, of releases in the time shown.",
                queries=[
                    Query(
                        "histogram_quantile(0.5, sum by (le, state) (increase("
                        f"pilotlight_release_step_seconds_bucket{{{OURS}}}[$__range])))",
                        "{{state}}",
                    )
                ],
                unit="s",
                kind="bargauge",
                instant=True,
            ),
            Panel(
                title="Checks",
                about="What the judge said; inconclusive never promotes, it asks a person.",
                queries=[
                    Query(
                        "sum by (ruling) "
                        f"(increase(pilotlight_release_checks_total{{{OURS}}}{RATE}))",
                        "{{ruling}}",
                    )
                ],
            ),
            Panel(
                title="Servers and versions",
                about="A release waits while its server is away; a rejected version is not "
                "released again as it is.",
                queries=[
                    Query(f"pilotlight_server_up{{{OURS}}}", "{{server}} answers"),
                    Query(f"pilotlight_rejected_versions{{{OURS}}}", "rejected versions"),
                ],
            ),
        ],
    )


def write(folder: Path) -> None:
    for dashboard in (fleet(), model(), release()):
        text = json.dumps(document(dashboard), indent=2)
        (folder / f"{dashboard.name}.json").write_text(f"{text}\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).with_name("dashboards"))
