"""Every probe, in the order of the report; the first three decide what is left to try."""

from proxy.doctor.base import Needs, Probe
from proxy.doctor.probes import (
    abort,
    authentication,
    clock,
    gateway,
    headers,
    keepalive,
    provider,
    replicas,
    retries,
    silence,
    streaming,
    uploads,
)

ENTRANCE = Probe((gateway.NAME, gateway.CERTIFICATE), gateway.probe)
KEY = Probe((authentication.NAME,), authentication.probe)
PROVIDER = Probe((provider.NAME,), provider.probe)

REGISTRY = (
    Probe((headers.NAME,), headers.probe, Needs.ANSWERS),
    Probe((keepalive.NAME,), keepalive.probe),
    Probe((streaming.FIRST, streaming.CLUMPS), streaming.probe, Needs.ANSWERS),
    Probe((uploads.SIZE,), uploads.probe_size, Needs.ANSWERS),
    Probe((uploads.UPLOAD,), uploads.probe_upload),
    Probe((abort.NAME,), abort.probe, Needs.STEERED),
    Probe((replicas.NAME,), replicas.probe, Needs.ANSWERS),
    Probe((clock.NAME,), clock.probe, Needs.ANSWERS),
    # Behind the others: where a failure is sent again, it may also count against those who made it.
    Probe((retries.NAME,), retries.probe, Needs.STEERED),
)
"""One after the other, so that none disturbs what the next one times."""

BESIDE = (Probe((silence.NAME,), silence.probe, Needs.STEERED),)
"""What takes long and does nothing meanwhile: made beside the others, and last in the report."""
