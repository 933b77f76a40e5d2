"""Schemas of the custom resources the chart makes: the fields it uses, as their definitions in a cluster have them.

Strict, so that a misspelt field fails here and is not pruned there in silence.
"""

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
DURATION: Schema = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$"}
NAMES: Schema = {"type": "object", "minProperties": 1, "additionalProperties": TEXT}


def section(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """Describe a mapping with these fields and no others."""
    properties = {**required, **(optional or {})}
    return {"type": "object", "required": [*required], "properties": properties, "additionalProperties": False}


def several(item: Schema) -> Schema:
    """Describe a list of at least one."""
    return {"type": "array", "minItems": 1, "items": item}


SELECTOR = section({"matchLabels": NAMES})
ENDPOINT = section({"port": TEXT, "path": TEXT, "interval": DURATION, "scrapeTimeout": DURATION})
ALERT = section(
    {"alert": TEXT, "expr": TEXT}, {"for": DURATION, "keep_firing_for": DURATION, "labels": NAMES, "annotations": NAMES}
)
RECORD = section({"record": TEXT, "expr": TEXT}, {"labels": NAMES})
GROUP = section({"name": TEXT, "rules": several({"anyOf": [ALERT, RECORD]})}, {"interval": DURATION})
EXTERNAL = section({"key": TEXT}, {"property": TEXT, "version": TEXT})

SPECS: dict[tuple[str, str], Schema] = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"): section(
        {"selector": SELECTOR, "endpoints": several(ENDPOINT)}, {"jobLabel": TEXT}
    ),
    ("monitoring.coreos.com/v1", "PodMonitor"): section(
        {"selector": SELECTOR, "podMetricsEndpoints": several(ENDPOINT)}, {"jobLabel": TEXT}
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): section({"groups": several(GROUP)}),
    ("external-secrets.io/v1", "ExternalSecret"): section(
        {
            "refreshInterval": DURATION,
            "secretStoreRef": section({"name": TEXT, "kind": {"enum": ["SecretStore", "ClusterSecretStore"]}}),
            "target": section({"name": TEXT}),
        },
        {
            "data": several(section({"secretKey": TEXT, "remoteRef": EXTERNAL})),
            "dataFrom": several(section({"extract": EXTERNAL})),
        },
    ),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): section(
        {
            "parentRefs": several(section({"name": TEXT}, {"namespace": TEXT, "sectionName": TEXT})),
            "rules": several(
                section(
                    {"backendRefs": several(section({"name": TEXT, "port": {"type": "integer"}}))},
                    {"timeouts": section({"request": DURATION, "backendRequest": DURATION})},
                )
            ),
        },
        {"hostnames": several(TEXT)},
    ),
}
"""The `spec` of each, by API version and kind."""
