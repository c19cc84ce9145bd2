"""The expressions behind `rules`, each linear: a repeat is bounded or alone over its characters, none nests another.

A test proves the nesting on the parsed expressions and measures growth.  Sources: RFC 3986 (URL), RFC 4291 (IPv6),
RFC 5321 (mail), RFC 7468 (PEM), RFC 7519 (JWT), ISO 13616 (IBAN), ISO/IEC 7812 (cards), ITU-T E.164 (phones).
"""

import re

from carojournal.patterns.vendors import VENDOR_KEY

__all__ = ["CARD", "DATE_DIGITS", "IBAN", "IPV6", "LETTERS", "PATTERNS", "RUN"]

# Candidates whose check is arithmetic (`checks`).
CARD = re.compile(r"(?<![0-9A-Za-z.-])\d(?:[ .-]?\d){12,18}(?![0-9A-Za-z])")
IBAN = re.compile(r"(?<![0-9A-Za-z])[A-Za-z]{2}\d{2}(?:[ .-]?[0-9A-Za-z]){11,30}(?![0-9A-Za-z])")
IPV6 = re.compile(r"(?<![0-9A-Za-z:.])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{1,41}")
DATE_DIGITS = re.compile(r"(?<!\d)\d{8}(?!\d)")
RUN = re.compile(r"[A-Za-z0-9+/_=-]{12,}")  # Shorter runs have too few characters to judge their entropy.
LETTERS = re.compile(r"[^\W\d_]+")

_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
_MAIL_LABEL = r"[^\s@<>\"'(),;/:]"
_SECRET = (
    r"pass(?:wor[dt]|wd|phrase|code)?", r"pwd", r"secret[es]?", "token", r"api[_-]?key", r"auth\w{0,12}",
    "credentials?", r"(?:private|access|account|shared|client|encryption|signing)[_-]?key", "bearer", "pin", "otp",
)  # fmt: skip
_FILE = (
    "c|cc|cfg|conf|cpp|cs|css|csv|db|doc|docx|env|go|gz|h|html|ini|java|jpe?g|js|json|key|kt|lock|log|md|pdf|pem|php",
    "png|ppt|py|rb|rs|sh|sql|sqlite|svg|swift|tar|tf|toml|tsx?|txt|xlsx?|xml|ya?ml|zip",
)
_HOST_ROLE = r"srv|db|web|host|node|app|mail|ns|vpn|dc|prod|dev|stag\w{0,4}|ip|ec2|desktop|laptop|pc|macbook\w{0,5}"

_SOURCES: dict[str, tuple[str, ...]] = {
    "email": (
        r"[^\s@<>\"'(),;:/]{1,64}@(?!\d+$|default$|latest$)" + _MAIL_LABEL + r"{1,255}\.[^\s@<>\"'(),;/:.]{2,63}",
    ),
    "ipv4": (rf"(?<![\w.])(?:{_OCTET}\.){{3}}{_OCTET}(?![\w.])",),
    "mac": (
        r"(?<![0-9A-Fa-f:-])[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}(?![0-9A-Fa-f:-])",
        r"(?<![0-9A-Fa-f:.-])(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}(?![0-9A-Fa-f:.-])",
    ),
    "url": (
        r"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]{1,20}://",
        r"(?:mailto|data|javascript|tel|sip|urn):\S{3}", r"www\.\w"),
    "url_credential": (r"://[^\s/:@]{0,128}:[^\s/@]{1,256}@",),
    "jwt": (r"(?<![A-Za-z0-9])ey[A-Za-z0-9_-]{8,512}\.[A-Za-z0-9_-]{8}", r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{12}"),
    "private_key": (
        r"-----BEGIN", r"PRIVATE[ _-]KEY", "PuTTY-User-Key", "AGE-SECRET-KEY-1", "(?<![A-Za-z0-9])b3BlbnNzaC1r",
        r"(?<![A-Za-z0-9])MI[GI][A-Za-z0-9+/]{24}",
    ),
    "secret_assignment": (r"(?i:" + "|".join(_SECRET) + r")[\w.\])\"'-]{0,32}\s{0,4}[=:,><!]{1,4}\s{0,4}\S",),
    "env_assignment": (
        r"(?:^|[\s;&\"'])(?:export |set |setx |\$env:)?[A-Z_][A-Z0-9_]{1,63}=", r"\$[{(]?[A-Z_]{2}", "%[A-Z]{2,32}%",
    ),
    "path": (
        r"(?:^|[\s\"'=(:])(?:~|\.{1,2}|[A-Za-z]:|\$\w{1,32}|%\w{1,32}%)?[/\\]\S",
        r"^\w[\w.+-]{0,63}[/\\]", r"\\\\\w", r"^[~./]{1,3}$", r"^~\w",
        r"\.(?:" + "|".join(_FILE) + r")(?:$|[\s\"':,)])",
    ),
    "hostname": (
        r"(?i:(?<![\w.-])(?:[a-z0-9_][a-z0-9_-]{0,62}\.){1,8}(?:[a-z]{2,24}|xn--[a-z0-9-]{1,59})\.?(?![\w-]))",
        r"(?i:localhost)", rf"(?i:^(?:[a-z]{{1,16}}[-_])?(?:{_HOST_ROLE})[-_]?\d{{1,6}}$)",
    ),
    "shell_command": (
        r"(?:^|[;&|(`]\s{0,4}|sudo )(?:\.{0,2}/)?[a-z][a-z0-9_.+-]{0,40} [\w./~$\"'-]", r"\s-{1,2}[A-Za-z]", "&&",
        r"\|\s{0,4}[a-z]", r"\$\(", r">{1,2} ?[/\w]", r"<\(",
    ),
    "phone": (r"(?<![\w.])[+(]?\d[\d ()./-]{5,24}(?!\w)",),
    "national_id": (
        r"(?<![A-Za-z0-9])(?:[A-Za-z]{1,3}[ .-]?)?\d[\d ./-]{4,20}(?:[A-Za-z]{1,2}\d{0,3})?(?![A-Za-z0-9])",
    ),
    "postcode": (
        r"(?i:(?<![a-z0-9])(?:[a-z]{1,2}\d[a-z\d]? ?\d[a-z]{2}|gir ?0aa|[a-z]\d[a-z][ -]?\d[a-z]\d)(?![a-z0-9]))",
        r"(?i:(?<![a-z0-9])(?:[a-z]{1,2}-\d{4,5}|\d{4} ?[a-z]{2})(?![a-z0-9]))", r"^\d{5}(?:-\d{4})?$",
    ),
    "date": (
        r"(?<!\d)(?:19|20)\d\d([-./ ]?)(?:0?[1-9]|1[0-2])\1[0-3]?\d(?!\d)",
        r"(?<!\d)[0-3]?\d([-./ ])[01]?\d\2(?:19|20)?\d\d(?!\d)",
        rf"(?i:\d{{1,2}}[ .-]?(?:st|nd|rd|th)?[ .-]{{0,2}}{_MONTH})", rf"(?i:{_MONTH}[a-z]{{0,6}}\.? ?\d{{1,2}})",
    ),
    "location": (r"-?\d{1,3}\.\d{3,12}[ ,;/]{1,3}-?\d{1,3}\.\d{3,12}", r"\bgeo:"),
    "person_name": (
        r"^(?:(?:Mrs?|Ms|Dr|Prof)\.? )?[^\W\d_a-z][^\W\d_]{1,24}(?:[ .'-]{1,2}[^\W\d_a-z][^\W\d_]{0,24}\.?){0,3}$",
    ),
    "username": (r"^@?[a-z][a-z0-9]{1,24}(?:[._,-][a-z0-9]{1,24}){0,2}$",),
    "plain_language": (r"[^\W\d_]{1,64}\s+[^\W\d_]{1,64}", r"[^\x00-\u02af\s]"),
}  # fmt: skip
PATTERNS = {name: re.compile("|".join(sources)) for name, sources in _SOURCES.items()} | {"vendor_key": VENDOR_KEY}
