"""`resprobe reproduce`: studies run, judged by the rules they declare, entered in a ledger.

`plan` says what is to be done, `versions` that no rule judges runs older than itself, `power`
whether it is worth a run, `trained` measures, `judging` applies the rules, `record`
makes the row, `ledger` keeps the rows, `document` and `section` write them for a reader, `run`
does all of it in order. Beside them, `pilot` measures the spreads that power is computed from, and
`publish` copies a ledger to where it is kept.
"""
