"""Envoy as the gateway's data plane, configured through files.

What Envoy reads (its "xDS" resources), each written by a module of its own:

    bootstrap.json       where the other files are; read once, when Envoy starts
    listeners.json       ports, TLS, API keys, filters: from the settings
    clusters.json        groups of servers: from the settings
    routes_*.json        what is open, splits and mirrors of releases
    endpoints_*.json     which replica answers for which model: changes with each load

A request is sent to a replica that answers for its model; where there is none, to the
sidecar's activator. That one says `again` when the model is loaded, and Envoy repeats the
request from its own copy.
"""
