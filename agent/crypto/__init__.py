"""Pure functions over `cryptography`: prf, key schedules, Diffie-Hellman, ciphers, signatures, X.509 checks."""
