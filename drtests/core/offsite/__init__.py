"""Whether an offsite backup would be there when building, account and administrator are lost. Pure."""
