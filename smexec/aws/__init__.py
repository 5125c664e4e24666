"""Bytes ↔ AWS: sessions, rates, retries. Everything of boto's, its exceptions above all, ends here."""
