"""The heart: protocol-neutral values of group security. GSA, GPAD and GSPD (RFC 3740, RFC 5374)."""
