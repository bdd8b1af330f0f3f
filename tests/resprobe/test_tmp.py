def test_a(collected, resprobe):
    r = resprobe("check", collected); print(r.output)
    print(resprobe("analyze", collected).output)
    print(resprobe("inspect", collected).output)
