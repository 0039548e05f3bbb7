"""The typed tree behind etc/zonerelay.toml: one frozen struct per section, defaults included.

Sizes are bytes, durations seconds; in the file they are written as strings ("30MB",
"4h"). A component is given its section, never the whole tree. Names are those of the file.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from relay.message.tls_asked import Tls

#: 5 min, 7 min, 8 min, 25 min, 75 min, 2 h, then eleven times 4 h: 48 hours in all.
RETRY_STEPS = (300.0, 420.0, 480.0, 1500.0, 4500.0, 7200.0) + (14400.0,) * 11

# The unit tells relay.config.shape which strings of the file stand for such a number.
Size = Annotated[int, msgspec.Meta(ge=0, extra={"unit": "size"})]
Seconds = Annotated[float, msgspec.Meta(ge=0, extra={"unit": "duration"})]
#: Seconds that cannot be nought: as a time-out it would fail everything, as a period spin.
Interval = Annotated[float, msgspec.Meta(gt=0, extra={"unit": "duration"})]
Count = Annotated[int, msgspec.Meta(ge=1)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
#: "100/s", "60/m", "1000/h", "50000/d"; of bytes "10MB/s". relay.config.units reads it.
Rate = Annotated[str, msgspec.Meta(extra={"unit": "rate"})]
ByteRate = Annotated[str, msgspec.Meta(extra={"unit": "byte rate"})]
Priority = Literal["high", "normal", "low"]
#: A number of things at once; 0 is no limit.
Most = Annotated[int, msgspec.Meta(ge=0)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections: frozen, and unknown keys are errors."""


class Queue(Section, frozen=True):
    path: str = "var/queue"
    sync: bool = True
    retry: tuple[Interval, ...] = RETRY_STEPS
    retry_repeat_last: bool = False
    max_age: Interval = 5 * 86400.0
    memory: Size = 64 * 1024 * 1024
    min_free: Size = 64 * 1024 * 1024
    idempotency: Seconds = 86400.0


#: What EHLO may offer and a listener may leave out.
Extension = Literal[
    "8BITMIME", "AUTH", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES", "FUTURERELEASE",
    "LIMITS", "PIPELINING", "REQUIRETLS", "SIZE", "SMTPUTF8", "STARTTLS",
]  # fmt: skip
Mechanism = Literal["PLAIN", "LOGIN", "SCRAM-SHA-256", "EXTERNAL"]
#: How we log in to a next hop.
ClientMechanism = Literal["SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"]


class Listener(Section, frozen=True):
    endpoint: str = "tcp:2525:interface=127.0.0.1"
    processes: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0
    # Who may come in.
    allow_networks: tuple[str, ...] = ("127.0.0.0/8", "::1")
    open_relay: bool = False
    returns: bool = False
    auth: bool = False
    mechanisms: tuple[Mechanism, ...] = ("PLAIN", "LOGIN", "SCRAM-SHA-256", "EXTERNAL")
    insecure_auth: bool = False
    proxy_networks: tuple[str, ...] = ()
    xclient_networks: tuple[str, ...] = ()
    # TLS.
    tls: Literal["off", "starttls", "implicit"] = "off"
    require_tls: bool = False
    certificate: str = ""
    key: str = ""
    certificates: str = ""
    client_ca: str = ""
    # What is offered, and what is done to mail.
    without: tuple[Extension, ...] = ()
    allow_routing_headers: bool = False
    add_missing: tuple[Literal["message-id", "date", "from", "to", "mime-version"], ...] = ("message-id", "date")
    x_originating_ip: bool = True
    future_date: bool = False
    max_future: Interval = 365 * 86400.0
    priority: Priority = "normal"
    null_sender: Literal["accept", "one-recipient", "reject"] = "accept"
    bare_newlines: Literal["reject", "normalize"] = "reject"
    # Limits.
    max_size: Size = 30 * 1024 * 1024
    max_recipients: Count = 1000
    max_header: Size = 1024 * 1024
    max_hops: Count = 35
    max_connections: Count = 1000
    max_connections_per_address: Count = 250
    max_messages: Count = 10000
    max_commands: Count = 1000
    max_errors: Count = 20
    max_bad_recipients: Count = 50
    max_memory: Size = 256 * 1024 * 1024
    min_rate: Size = 512
    greeting_delay: Seconds = 0.0
    timeout: Interval = 600.0
    data_timeout: Interval = 3600.0
    tls_timeout: Interval = 30.0


class Access(Section, frozen=True):
    users: str = ""
    url: str = ""
    timeout: Interval = 10.0
    cache: Seconds = 300.0
    attempts: Count = 5
    lock_out: Interval = 900.0
    messages: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    demo: bool = False


class Api(Section, frozen=True):
    endpoint: str = "tcp:8080:interface=127.0.0.1"
    certificate: str = ""
    key: str = ""
    open_loopback: bool = True
    insecure_auth: bool = False
    allow_routing_headers: bool = False
    max_size: Size = 30 * 1024 * 1024
    max_recipients: Count = 1000
    max_connections: Count = 500
    timeout: Interval = 120.0


class Channel(Section, frozen=True):
    endpoint: str = "tcp:8081:interface=127.0.0.1"
    heartbeat: Interval = 2.0
    lease: Interval = 8.0


class Dns(Section, frozen=True):
    nameservers: tuple[str, ...] = ()
    dnssec: bool = False
    caching: bool = True
    timeout: Interval = 5.0
    tries: Count = 3
    max_ttl: Seconds = 3600.0


class PoolAddress(Section, frozen=True):
    address: str
    name: str = ""
    # -1: an equal part of what the others leave.
    ratio: Annotated[float, msgspec.Meta(ge=-1, le=1)] = -1.0
    warmup: str = ""
    warmup_since: str = ""


class Limits(Section, frozen=True):
    """What may be done at once and in a unit of time, counted in the master over all children."""

    max_connections: Most = 0
    new_connections: tuple[Rate, ...] = ()
    messages: tuple[Rate, ...] = ()
    bytes: tuple[ByteRate, ...] = ()


class Zone(Limits, frozen=True):
    pool: str = "default"
    addresses: tuple[str, ...] = ()
    interface: str = ""
    pool_hash: Literal["id", "from"] = "id"
    processes: Count = 1
    connections: Count = 10
    connecting: Count = 2000
    throttling: str = ""
    address: Limits = Limits()
    host: str = ""
    port: Port = 25
    url: str = ""
    egress: str = ""
    egress_user: str = ""
    egress_password_file: str = ""
    egress_password_variable: str = ""
    tls: Tls = "may"
    sts: bool = True
    dane: bool = True
    implicit_tls: bool = False
    lmtp: bool = False
    auth_user: str = ""
    auth_password_file: str = ""
    auth_password_variable: str = ""
    auth_mechanisms: tuple[ClientMechanism, ...] = ("SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN")
    insecure_auth: bool = False
    chunking: bool = True
    sender_domains: tuple[str, ...] = ()
    recipient_domains: tuple[str, ...] = ()
    routing_headers: dict[str, tuple[str, ...]] = {}
    client_networks: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    block_domains: tuple[str, ...] = ()
    return_path: Literal["", "verp", "srs"] = ""
    list_unsubscribe: bool = False
    ignore_ipv6: bool = False
    prefer_ipv6: bool = False
    block_local_addresses: bool = True
    idle: Seconds = 5.0
    reuse: Count = 100
    recipients_per_transaction: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    bounce_mail: bool = True
    bounce_zone: str = ""
    mailer_daemon: str = ""
    disabled: bool = False


#: What a domain says of an option of the zone's: nothing, or its own.
Choice = Literal["zone", "on", "off"]


class Domain(Limits, frozen=True):
    max_connections: Most = 5
    reuse: Most = 0
    disabled_addresses: tuple[str, ...] = ()
    tls: Literal["zone", "none", "may", "must", "verify", "sts", "dane"] = "zone"
    sts: Choice = "zone"
    dane: Choice = "zone"
    ignore_ipv6: Choice = "zone"
    prefer_ipv6: Choice = "zone"


class Site(Limits, frozen=True):
    max_connections: Most = 20
    reuse: Most = 0
    mx: tuple[str, ...] = ()


class Sender(Limits, frozen=True):
    """How what one user has submitted goes out."""

    weight: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    priority: Literal["", "high", "normal", "low"] = ""


class Warmup(Section, frozen=True):
    days: tuple[Count, ...] = (50, 100, 200, 400, 700, 1000, 1500, 2200, 3200, 4500, 6500, 9000, 13000, 20000, 30000)


class Backoff(Section, frozen=True):
    unreachable: tuple[Interval, ...] = (30.0, 60.0, 120.0, 300.0, 600.0, 900.0)
    pauses: tuple[Interval, ...] = (60.0, 300.0, 900.0, 1800.0, 3600.0)
    climb: Interval = 60.0
    blacklist: Interval = 21600.0
    refusing_host: Seconds = 120.0
    silent_host: Seconds = 900.0


class Events(Section, frozen=True):
    keep: Seconds = 30 * 86400.0
    max_size: Size = 2 * 1024**3
    rollups: Seconds = 30 * 86400.0


class Sink(Section, frozen=True):
    """Where events are handed on to; which keys are of use tells `kind` (relay.config.check_sinks)."""

    kind: Literal["webhook", "file", "udp", "gelf", "amqp"] = "webhook"
    events: tuple[str, ...] = ()
    batch: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    timeout: Interval = 15.0
    # webhook
    url: str = ""
    secret_file: str = ""
    secret_variable: str = ""
    allow_private: bool = False
    # file
    path: str = ""
    max_size: Size = 100 * 1024 * 1024
    keep: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5
    # udp, gelf, amqp
    host: str = ""
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    transport: Literal["udp", "tcp"] = "udp"
    # amqp
    tls: bool = False
    user: str = ""
    password_file: str = ""
    password_variable: str = ""
    vhost: str = "/"
    exchange: str = "amq.topic"
    routing_key: str = "zonerelay.{kind}"


class Bounces(Section, frozen=True):
    rules: str = ""
    mail: bool = True
    mailer_daemon: str = "Mail Delivery Subsystem <mailer-daemon@[HOSTNAME]>"
    zone: str = "bounces"
    delay_after: Seconds = 3 * 3600.0
    return_full_size: Size = 64 * 1024
    per_sender: Rate = "100/m"
    disabled_listeners: tuple[str, ...] = ()
    url: str = ""
    secret_file: str = ""
    secret_variable: str = ""
    allow_private: bool = False


class Returns(Section, frozen=True):
    """Mail that comes back for mail that has left."""

    domain: str = ""
    secret_file: str = ""
    secret_variable: str = ""
    keep_domains: tuple[str, ...] = ()
    complaints: str = "fbl"
    max_size: Size = 1024 * 1024
    srs_age: Interval = 21 * 86400.0
    unsubscribe_url: str = ""


class Suppression(Section, frozen=True):
    """Who gets no mail, and how one comes to be among them."""

    at_submission: Literal["accept", "refuse", "drop"] = "accept"
    bounces: Literal["off", "recipient"] = "off"
    after: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    within: Interval = 30 * 86400.0
    bounce_for: Seconds = 90 * 86400.0
    bounce_scope: Literal["global", "tenant"] = "global"
    complaints: bool = True
    unsubscribes: bool = True
    complaint_for: Seconds = 0.0
    complaint_scope: Literal["global", "tenant"] = "tenant"


class Timeouts(Section, frozen=True):
    connect: Interval = 60.0
    banner: Interval = 300.0
    tls: Interval = 60.0
    sts: Interval = 30.0
    ehlo: Interval = 300.0
    auth: Interval = 120.0
    mail: Interval = 300.0
    rcpt: Interval = 300.0
    data: Interval = 120.0
    body: Interval = 180.0
    dot: Interval = 600.0
    quit: Interval = 2.0


class ClientTls(Section, frozen=True):
    """TLS of deliveries."""

    authorities: str = ""


class TlsReports(Section, frozen=True):
    """Reports to the domains that mail goes to (RFC 8460)."""

    enabled: bool = True
    organization: str = ""
    sender: str = ""
    contact: str = ""
    domain: str = ""
    block_local_addresses: bool = True

    @property
    def on(self) -> bool:
        """Whether reports are sent: nobody's name is put under them unless it is given."""
        return self.enabled and bool(self.organization and self.sender)


#: Header fields that are signed where they are there (RFC 6376 5.4.1, RFC 8058 4).
SIGNED = (
    "From", "Sender", "Reply-To", "Subject", "Date", "Message-ID", "To", "Cc", "MIME-Version", "Content-Type",
    "Content-Transfer-Encoding", "Content-ID", "Content-Description", "Resent-Date", "Resent-From", "Resent-Sender",
    "Resent-To", "Resent-Cc", "Resent-Message-ID", "In-Reply-To", "References", "List-Id", "List-Help",
    "List-Unsubscribe", "List-Subscribe", "List-Post", "List-Owner", "List-Archive", "List-Unsubscribe-Post",
    "Feedback-ID",
)  # fmt: skip


class Dkim(Section, frozen=True):
    keys: str = "keys"
    on_bad_key: Literal["unsigned", "defer"] = "unsigned"
    required_domains: tuple[str, ...] = ()
    sign_transport_domain: bool = False
    canonicalization: Literal["relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple"] = (
        "relaxed/relaxed"
    )
    header_fields: tuple[str, ...] = SIGNED
    additional_header_fields: tuple[str, ...] = ()
    oversign: tuple[str, ...] = ("From", "Subject", "To", "Date")
    timestamp: bool = False
    expire: Seconds = 0.0
    arc: str = ""


class Logs(Section, frozen=True):
    mail: str = ""


class Config(Section, frozen=True):
    hostname: str = ""
    name: str = "Zonerelay"
    shutdown_timeout: Seconds = 10.0
    queue: Queue = Queue()
    listeners: dict[str, Listener] = msgspec.field(default_factory=lambda: {"feeder": Listener()})
    access: Access = Access()
    api: Api = Api()
    channel: Channel = Channel()
    dns: Dns = Dns()
    pools: dict[str, tuple[PoolAddress, ...]] = msgspec.field(
        default_factory=lambda: {"default": (PoolAddress(address="0.0.0.0"),)}
    )
    zones: dict[str, Zone] = msgspec.field(default_factory=lambda: {"default": Zone()})
    domains: dict[str, Domain] = msgspec.field(default_factory=lambda: {"default": Domain()})
    sites: dict[str, Site] = msgspec.field(default_factory=lambda: {"default": Site()})
    senders: dict[str, Sender] = msgspec.field(default_factory=lambda: {"default": Sender()})
    warmups: dict[str, Warmup] = msgspec.field(default_factory=lambda: {"default": Warmup()})
    backoff: Backoff = Backoff()
    events: Events = Events()
    sinks: dict[str, Sink] = {}
    bounces: Bounces = Bounces()
    returns: Returns = Returns()
    suppression: Suppression = Suppression()
    timeouts: Timeouts = Timeouts()
    tls: ClientTls = ClientTls()
    tls_reports: TlsReports = TlsReports()
    dkim: Dkim = Dkim()
    logs: Logs = Logs()
