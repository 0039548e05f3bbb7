"""Large providers of mailboxes and mail gateways, by the names of their mail exchangers.

Each name is a site's (relay.zone.sites). A pattern is the name of a host, or `*.` and the end
of names, at any depth. Where other machines have names in the same domain, those of customers
above all, the exchangers are named one by one. They lie with the configuration because the
tables of `[sites]` are named after them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Provider(NamedTuple):
    """Who it is, and the patterns of its exchangers, in lower case."""

    title: str
    mx: tuple[str, ...]


# Regions that take mail for SES and WorkMail. Those that are missing are sites of their own.
_SES = (
    "us-east-1", "us-east-2", "us-west-2", "ca-central-1", "eu-central-1", "eu-west-1", "eu-west-2",
    "ap-northeast-1", "ap-southeast-1", "ap-southeast-2",
)  # fmt: skip

PROVIDERS: Mapping[str, Provider] = {
    # Mailboxes that anybody can have.
    "gmail": Provider(
        "Gmail and Google Workspace",
        (
            "gmail-smtp-in.l.google.com",
            "*.gmail-smtp-in.l.google.com",
            "aspmx.l.google.com",
            "*.aspmx.l.google.com",
            "smtp.google.com",
            "aspmx2.googlemail.com",
            "aspmx3.googlemail.com",
            "aspmx4.googlemail.com",
            "aspmx5.googlemail.com",
        ),
    ),
    "outlook": Provider("Outlook.com, Hotmail, Live, MSN", ("*.olc.protection.outlook.com",)),
    "yahoo": Provider("Yahoo, AOL, and what Yahoo hosts", ("*.yahoodns.net",)),
    "yahoo-japan": Provider("Yahoo! Japan", ("*.mail.yahoo.co.jp",)),
    "icloud": Provider("Apple iCloud", ("*.mail.icloud.com",)),
    "gmx": Provider("GMX, WEB.DE, mail.com", ("*.gmx.net", "*.web.de", "*.mail.com")),
    "mailru": Provider("Mail.ru", ("mxs.mail.ru", "emx.mail.ru")),
    "yandex": Provider("Yandex", ("mx.yandex.ru", "mx.yandex.net")),
    "qq": Provider("QQ Mail and Tencent Exmail", ("*.qq.com",)),
    "163": Provider("NetEase: 163, 126, yeah.net", ("*.mxmail.netease.com",)),
    "naver": Provider("Naver", ("mx1.naver.com", "mx2.naver.com", "mx3.naver.com")),
    "seznam": Provider("Seznam", ("mx1.seznam.cz", "mx2.seznam.cz")),
    "wp": Provider("Wirtualna Polska", ("mx.wp.pl",)),
    "onet": Provider("Onet", ("mx.poczta.onet.pl",)),
    "libero": Provider("Libero and Virgilio", ("smtp-in.libero.it", "smtp-in.virgilio.it")),
    "protonmail": Provider("Proton Mail", ("mail.protonmail.ch", "mailsec.protonmail.ch")),
    "fastmail": Provider("Fastmail", ("*.messagingengine.com",)),
    "tuta": Provider("Tuta", ("mail.tutanota.de",)),
    "posteo": Provider("Posteo", ("*.posteo.de",)),
    "mailbox-org": Provider("mailbox.org", ("*.mailbox.org",)),
    # Providers of access.
    "comcast": Provider(
        "Comcast Xfinity",
        (
            "mx1.comcast.net",
            "mx2.comcast.net",
            "mx1a1.comcast.net",
            "mx1c1.comcast.net",
            "mx1h1.comcast.net",
            "mx2a1.comcast.net",
            "mx2c1.comcast.net",
            "mx2h1.comcast.net",
            "mx1.mxge.comcast.net",
            "mx2.mxge.comcast.net",
        ),
    ),
    "orange": Provider("Orange and Wanadoo, France", ("smtp-in.orange.fr",)),
    "free": Provider("Free, France", ("mx1.free.fr", "mx2.free.fr")),
    "sfr": Provider("SFR", ("smtp-in.sfr.fr",)),
    "t-online": Provider(
        "Deutsche Telekom", ("mx00.t-online.de", "mx01.t-online.de", "mx02.t-online.de", "mx03.t-online.de")
    ),
    # Mail of domains.
    "office365": Provider(
        "Microsoft 365",
        (
            "*.mail.protection.outlook.com",
            "*.mx.microsoft",
            "*.mail.protection.office365.us",
            "*.mail.protection.partner.outlook.cn",
        ),
    ),
    "zoho": Provider(
        "Zoho Mail",
        (
            "*.zoho.com",
            "*.zoho.eu",
            "*.zoho.in",
            "*.zoho.com.au",
            "*.zoho.com.cn",
            "*.zoho.jp",
            "*.zohocloud.ca",
            "*.zohomail.com",
        ),
    ),
    "amazonses-inbound": Provider(
        "Amazon SES and WorkMail", tuple(f"inbound-smtp.{region}.amazonaws.com" for region in _SES)
    ),
    "alibaba": Provider("Alibaba Mail", ("*.mxhichina.com", "*.qiye.aliyun.com")),
    "ovh": Provider(
        "OVHcloud",
        ("*.mail.ovh.net", "*.mail.ovh.ca", "mx1.ovh.net", "mx2.ovh.net", "mxb.ovh.net", "redirect.ovh.net"),
    ),
    "ionos": Provider(
        "IONOS, 1&1",
        (
            "*.ionos.com",
            "*.ionos.de",
            "*.ionos.co.uk",
            "*.ionos.es",
            "*.ionos.fr",
            "*.ionos.it",
            "*.1and1.com",
            "*.1and1.co.uk",
            "*.1and1.es",
            "*.1and1.fr",
            "mx00.kundenserver.de",
            "mx01.kundenserver.de",
            "mx00.perfora.net",
            "mx01.perfora.net",
        ),
    ),
    "strato": Provider("STRATO", ("smtpin.rzone.de",)),
    "godaddy": Provider(
        "GoDaddy Workspace Email",
        (
            "smtp.secureserver.net",
            "mailstore1.secureserver.net",
            "smtp.europe.secureserver.net",
            "mailstore1.europe.secureserver.net",
            "smtp.asia.secureserver.net",
            "mailstore1.asia.secureserver.net",
        ),
    ),
    "rackspace": Provider("Rackspace Email", ("*.emailsrvr.com",)),
    "gandi": Provider("Gandi", ("*.mail.gandi.net",)),
    "infomaniak": Provider("Infomaniak", ("mta-gw.infomaniak.ch",)),
    "hostinger": Provider("Hostinger", ("mx1.hostinger.com", "mx2.hostinger.com")),
    "namecheap": Provider("Namecheap Private Email", ("*.privateemail.com",)),
    "titan": Provider("Titan", ("mx1.titan.email", "mx2.titan.email")),
    "one-com": Provider("one.com", ("*.one.com",)),
    "siteground": Provider("SiteGround", ("*.mailspamprotection.com",)),
    "opensrs": Provider("OpenSRS Hosted Email", ("*.hostedemail.com",)),
    "intermedia": Provider("Intermedia", ("*.serverdata.net",)),
    "migadu": Provider("Migadu", ("aspmx1.migadu.com", "aspmx2.migadu.com")),
    # Forwarders, and mail that programs take.
    "cloudflare": Provider("Cloudflare Email Routing", ("*.mx.cloudflare.net",)),
    "improvmx": Provider("ImprovMX", ("mx1.improvmx.com", "mx2.improvmx.com")),
    "forwardemail": Provider("Forward Email", ("mx1.forwardemail.net", "mx2.forwardemail.net")),
    "mailgun": Provider("Mailgun Routes", ("*.mailgun.org",)),
    "sendgrid": Provider("SendGrid Inbound Parse", ("mx.sendgrid.net",)),
    # Gateways before other people's mail servers.
    "proofpoint": Provider("Proofpoint", ("*.pphosted.com", "*.gpphosted.com")),
    "proofpoint-essentials": Provider("Proofpoint Essentials", ("*.ppe-hosted.com",)),
    "mimecast": Provider("Mimecast", ("*.mimecast.com", "*.mimecast.co.za", "*.mimecast-offshore.com")),
    "barracuda": Provider("Barracuda Email Gateway Defense", ("*.barracudanetworks.com",)),
    "messagelabs": Provider("Symantec Email Security.cloud", ("*.messagelabs.com",)),
    "cisco": Provider("Cisco Secure Email Cloud", ("*.iphmx.com",)),
    "trendmicro": Provider(
        "Trend Micro Email Security", ("*.tmes.trendmicro.com", "*.tmes.trendmicro.eu", "*.hes.trendmicro.com")
    ),
    "sophos": Provider("Sophos Email", ("*.hydra.sophos.com",)),
    "forcepoint": Provider("Forcepoint Email Security", ("*.mailcontrol.com",)),
    "hornetsecurity": Provider("Hornetsecurity", ("*.hornetsecurity.com",)),
    "spamexperts": Provider(
        "N-able Mail Assure",
        (
            "*.antispamcloud.com",
            "mx.spamexperts.com",
            "fallbackmx.spamexperts.eu",
            "lastmx.spamexperts.net",
        ),
    ),
}
