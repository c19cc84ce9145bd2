"""Keys and tokens that name their issuer: public prefixes, as vendors document them for secret scanners.

A prefix alone with a plausible tail suffices; a tripwire need not know a vendor's exact lengths, and lengths change.
"""

import re

__all__ = ["VENDOR_KEY"]

_PREFIXES = (
    # prefix, fewest characters that follow
    (r"(?:A3T[A-Z0-9]|AKIA|ASIA|AGPA|AIDA|AROA|ABIA|ACCA|ANPA|ANVA)(?=[A-Z0-9])", 12),  # Amazon access key ids
    (r"ABSK|bedrock-api-key-", 16),
    (r"AIza|ya29\.|GOCSPX-|1//0", 20),  # Google
    (r"gh[oprsu]_|github_pat_", 16),
    (r"gl(?:pat|dt|rt|ft|ptt|soat|cbt|imt|agent|oas|ffct|rtr|wt)-|GR1348941", 12),
    (r"xox[abeoprs]-|xapp-|xwfp-", 8),  # Slack
    (r"sk-(?:ant-|proj-|svcacct-|admin-|or-v1-|lf-)?(?=[A-Za-z0-9_-]*\d)", 16),  # OpenAI, Anthropic, OpenRouter
    (r"(?:sk|rk|pk|whsec|sess)_(?:live|test|prod)_|whsec_", 8),  # Stripe, Clerk
    (r"SG\.|key-(?=[0-9a-f])|pubkey-(?=[0-9a-f])", 20),  # SendGrid, Mailgun
    (r"(?:AC|SK)(?=[0-9a-f]{32})", 32),  # Twilio
    (r"shp(?:at|ca|pa|ss)_", 16),
    (r"npm_|pypi-|rubygems_|dckr_(?:pat|oat)_|cio[A-Z]", 16),
    (
        r"(?:hf_|api_org_|gsk_|r8_|xai-|pplx-|fw_|csk-|jina_|voyage-|al-|pa-)(?=[A-Za-z0-9]{20})",
        16,
    ),
    (r"nvapi-|tgp_v1_|pcsk_|lsv2_", 16),
    (r"do[opr]_v1_|dp\.(?:pt|st|ct|sa|scim|audit)\.|dapi(?=[0-9a-f])|ddp_|dt0c01\.", 16),
    (r"hv[sbr]\.|[sbr]\.(?=[A-Za-z0-9]{24})|atlasv1\.|tfe\.v1\.", 16),  # HashiCorp
    (r"NRAK-|NRJS-|NRII-|NRRA-|NRIQ-|glsa_|glc_|glsw_|eyJrIjoi|phc_|phx_|sntry[su]_|sntryu_", 12),
    (
        r"lin_(?:api|oauth)_|secret_(?=[A-Za-z0-9]{20})|ntn_|fig[dourh]_",
        12,
    ),
    (r"PMAK-|fio-u-|pat(?=[A-Za-z0-9]{14}\.)|API-(?=[A-Z0-9]{20})", 12),
    (r"sq0(?:atp|csp|idp)-|EAAA|access_token\$|rzp_(?:live|test)_|FLW(?:SEC|PUB)K|cko_|dop_v1_|duffel_", 8),
    (r"LTAI|AQVN|t1\.9eu|YC[A-Z](?=[A-Za-z0-9_-]{30})|AKID|IGQV|EAA[CM]|AAAA[A-Za-z0-9_-]{7}:", 12),
    (r"CFPAT-|ATATT3|ATBB|ATCTT3|CLOJRS|sbp_|sb_(?:secret|publishable)_|pscale_(?:tkn|pw|oauth)_|re_(?=\w{8}_)", 12),
    (r"AGE-SECRET-KEY-|age1|ops_ey|A3-(?=[A-Z0-9]{6}-)|EZ[AT]K|live_(?=[A-Za-z0-9]{20})|test_(?=[A-Za-z0-9]{20})", 12),
    (r"amzn\.mws\.|SK[A-Z]{2}-|xkeysib-|sib-|mlsn\.|tk-us-|tskey-|nfp_|rdme_|shippo_(?:live|test)_|ghcr_|CCIPAT_", 12),
    (r"https://hooks\.slack\.com/|https://discord(?:app)?\.com/api/webhooks/|[MNO][\w-]{23,25}\.[\w-]{6}\.", 8),
    (r"\d{8,10}:AA", 20),  # Telegram
)

# Linear: alternatives of literal prefixes, one bounded tail each, none nested.
VENDOR_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:" + "|".join(rf"(?:{prefix})[\w+/=.~-]{{{least}}}" for prefix, least in _PREFIXES) + ")"
)
